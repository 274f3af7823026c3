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
// # Blocks and values
//
// Encode and Decode turn Go values into blocks (dag-cbor) and back. TempPin
// keeps blocks for as long as somebody holds it, which is how one builds
// something from below before it has a name. A Batch changes blocks, aliases
// and the rows of spaces at once or not at all: Example_chain moves a log on in
// one step. ImportCAR and ExportCAR exchange DAGs with other IPFS tools; a block
// that isn't here is an error, never a short file.
//
// # Files
//
// Files are added from an io.Reader, an fs.FS or a path, and kept when that
// returns:
//
//	added, err := n.AddPath(ctx, "/srv/site", cairn.AddOptions{Alias: "site"})
//
// Equal files under an equal profile get equal CIDs, those that Kubo gives.
// AddPath reads only what has changed since it last added the same folder, and
// with NoCopy leaves the bytes where they are. An Adder adds many things as one
// change, and tells of progress; NewAdder's puts into whatever takes blocks, and
// NewHasher's tells CIDs and keeps nothing.
//
// They are read with OpenFile, an io.ReadSeekCloser and io.ReaderAt that reads
// ahead, and with FS, which everything takes that takes an fs.FS:
//
//	http.Handle("/", http.FileServerFS(n.FS(ctx, added.CID)))
//
// All of these read what is here. Fetcher has the same methods, and they fetch
// from peers what is not here, as it is needed:
//
//	f, err := n.Fetcher().OpenFile(ctx, root)
//
// Edit changes a directory: it makes a new root, at a cost that grows with what
// was changed, and the old root stays what it was.
//
// # Keeping
//
// Space is freed by Store().Evict, or by itself where store.Options say how
// much there is. It never stops readers and writers, and costs what it frees.
// Events tells of blocks that come, go and are missed. Store gives access to
// all that the block store can do: spaces for small values that change together
// with blocks, verification, backups. Rebuild makes the index anew from the
// packs, should it be lost.
//
// # Network
//
// The network starts with the first call that needs it, or at once for a node
// that listens (Config.Listen, DefaultListen). From then on peers are answered
// from what is here, over bitswap and as a trustless gateway on libp2p streams.
//
//	for p, err := range n.Sync(ctx, root, cairn.SyncOptions{From: []string{addr}, Alias: "site"}) {
//		…
//	}
//
// gets a DAG from peers and gateways at once, checks every block, keeps what
// came whatever happens, and sets the alias when all is here. Of a new version
// of what the alias stands for, it gets what is new. SyncOptions.Follow validates
// each block before going on. Fetch gets one block. Connect, Peers, Ping,
// Protect and Ban are about who the node talks to, Topic about messages, Gateway
// is an http.Handler that serves what is here to anybody.
//
// # Finding
//
// With Config.Bootstrap (DefaultBootstrap, for the public network), peers and
// providers are found in the DHT; with Config.Delegated, by routers over HTTP;
// with Config.Finders, as you like. Sync and Fetch ask whoever is found.
// FindProviders and FindPeer tell as they find, WithTrace how. A node that
// listens announces what its aliases keep (Config.Providing); Provide announces
// one thing more, ProvideStats tells whether it can be kept up. What nobody
// configured is asked of nobody: a zero Config calls no one.
//
// # Names
//
// A name stays when the content changes: it is the hash of a key, and leads to
// what the key's owner signed last (IPNS).
//
//	keys, err := n.Keys()
//	key, err := keys.Generate("site")
//	record, err := n.PublishName(ctx, "site", added.CID.String(), cairn.PublishOptions{})
//	r, err := n.ResolveName(ctx, "/ipns/"+key.ID, cairn.ResolveOptions{})
//
// ResolvePath goes on through directories to a CID. Domains are resolved by their
// DNSLink (Config.DNS). FollowName and NameUpdates tell of new records as they
// come. Without a network what is known here is resolved, and what is published
// is sent later: ErrNotSent says so. docs/names.md tells more.
//
// # Errors
//
// Errors are tested with errors.Is: block.ErrNotFound for a block that isn't
// here, block.ErrDamaged for one whose bytes have changed, ErrNoSource where
// nobody has it, ErrOffline, store.ErrLocked, store.ErrDiskFull and others of that package, ErrNotFile and ErrNotDirectory here.
// Whatever is read from outside is bounded; no input makes the package panic, or
// end the program.
//
// A Node may be used by any number of goroutines, and there is no global state:
// two nodes in one process know nothing of each other. It finds peers of the
// local network if it's told to (Config.MDNS).
// docs/architecture.md tells how the packages stand on each other.
package cairn
