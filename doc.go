// Package cairn is an IPFS node to have inside of a Go program: a small, fast,
// reliable store of content-addressed blocks, and what one does with them.
//
// A node is opened with one call, in memory or in a folder:
//
//	n, err := cairn.Open(ctx, cairn.Config{Dir: "/var/lib/app/cairn"})
//	if err != nil {
//		return err
//	}
//	defer n.Close()
//
// A block is bytes and the CID that names them. Put takes blocks in as a cache.
// What has to stay is given a name, an alias, which keeps everything that can
// be reached from its root:
//
//	head, err := cairn.Encode(entry{Text: "hello", Prev: prev})
//	…
//	b := n.Batch()
//	b.Put(ctx, head)
//	b.Alias("log", head.CID(), store.AliasOptions{})
//	err = b.Commit(ctx)
//
// When Commit returns nil, the block and the name survive any crash, together.
// What the name stood for before is garbage, unless the new root reaches it, and
// its space is used again when it's needed.
//
// Encode and Decode turn Go values into blocks (dag-cbor) and back. ImportCAR
// and ExportCAR exchange DAGs with other IPFS tools. Store gives access to all
// that the block store can do: temporary pins, spaces for small values that
// change together with blocks, eviction, verification, backups.
//
// A Node may be used by any number of goroutines, and there is no global state:
// two nodes in one process know nothing of each other. The node has no network
// yet. docs/architecture.md tells how the packages stand on each other.
package cairn
