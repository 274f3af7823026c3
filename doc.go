// Package cairn is an IPFS node for use inside a Go program: a small, fast, reliable
// store of content-addressed blocks, and the means to find, fetch, publish and serve
// them.
//
// Open opens a node, in memory or in a folder:
//
//	n, err := cairn.Open(ctx, cairn.Config{Dir: "/var/lib/app/cairn"})
//	if err != nil {
//		return err
//	}
//	defer n.Close()
//
// A block is bytes and the CID that names them. Put caches blocks. To keep content,
// give its root a name, an alias: it keeps everything reachable from the root.
//
//	head, err := cairn.Encode(entry{Text: "hello", Prev: prev})
//	…
//	b := n.Batch()
//	b.Put(ctx, head)
//	b.Alias("log", head.CID(), store.AliasOptions{})
//	err = b.Commit(ctx)
//
// When Commit returns nil, the block and the alias survive any crash, together. What
// the alias kept before is garbage, unless the new root reaches it.
//
// # Blocks and values
//
// Encode and Decode convert Go values to dag-cbor blocks and back. A TempPin keeps
// blocks while a DAG is built that has no name yet. A Batch changes blocks, aliases
// and the rows of spaces all at once: Example_chain extends a log in one step.
// ImportCAR and ExportCAR exchange DAGs with other IPFS tools. A missing block is an
// error, never a short file.
//
// # Files
//
// Add, AddFS and AddPath add files from an io.Reader, an fs.FS or a path:
//
//	added, err := n.AddPath(ctx, "/srv/site", cairn.AddOptions{Alias: "site"})
//
// When they return nil, the files are durable. Equal files with an equal profile get
// equal CIDs, the same as in Kubo. AddPath reads only files that changed since they
// were last added; with NoCopy it leaves the bytes where they are. An Adder adds
// several files as one change. NewAdder puts into a block.Putter of your own, and
// NewHasher only computes CIDs.
//
// OpenFile returns an io.ReadSeekCloser and io.ReaderAt that reads ahead. FS returns
// an fs.FS:
//
//	http.Handle("/", http.FileServerFS(n.FS(ctx, added.CID)))
//
// Edit changes a directory. It makes a new root, at a cost that grows with the
// changes and not with the directory, and leaves the old root as it was.
//
// # Reading and fetching
//
// The methods of Node that read, Get, OpenFile, FS, Edit and ExportCAR, read from the
// store only: a block that is missing is block.ErrNotFound. A Fetcher has the same
// methods, and fetches missing blocks from peers and gateways as they are needed:
//
//	f, err := n.Fetcher().OpenFile(ctx, root)
//
// Sync fetches a whole DAG, faster, and keeps it:
//
//	for p, err := range n.Sync(ctx, root, cairn.SyncOptions{From: []string{addr}, Alias: "site"}) {
//		…
//	}
//
// It asks peers and gateways at once, verifies every block, and sets the alias when
// the DAG is complete. After an interruption it continues where it stopped. Of a new
// version it fetches what is new. SyncOptions.Follow can validate each block before
// the next is requested.
//
// # Keeping
//
// Store().Evict frees space, and so does the node by itself if store.Options bound
// the cache. Eviction stops neither readers nor writers. Events reports blocks that
// arrive, leave and are missing. Store gives access to the whole block store:
// spaces for small values that change together with blocks, verification, backups.
// Rebuild restores a lost index from the packs.
//
// # Network
//
// The network starts with the first call that needs it, or in Open if the node listens
// (Config.Listen, DefaultListen). From then on the node serves its blocks to peers,
// over bitswap and as a trustless gateway on libp2p streams. Connect, Peers, Ping,
// Protect and Ban manage connections, and a Topic exchanges messages. Gateway is an
// http.Handler that serves the blocks over HTTP.
//
// Providers and peers are found in the DHT with Config.Bootstrap (DefaultBootstrap for
// the public network), by HTTP routers with Config.Delegated, and by your own
// Config.Finders. Sync and fetching use all of them. FindProviders and FindPeer yield
// results as they are found; WithTrace shows each query. A node that listens announces
// what its aliases keep (Config.Providing). Provide announces more, and ProvideStats
// shows whether the node can keep all records alive.
//
// A zero Config contacts nothing: only what is configured, or given to a call, is.
//
// # Names
//
// An IPNS name stays the same while its content changes: it is the hash of a key, and
// leads to the path that the key's owner signed last.
//
//	keys, err := n.Keys()
//	key, err := keys.Generate("site")
//	record, err := n.PublishName(ctx, "site", added.CID.String(), cairn.PublishOptions{})
//	r, err := n.ResolveName(ctx, "/ipns/"+key.ID, cairn.ResolveOptions{})
//
// ResolvePath resolves a path through names and directories to a CID. Domains are
// resolved by DNSLink (Config.DNS). FollowName and NameUpdates deliver new records as
// they appear. A node that is offline resolves names it has stored, and sends what it
// publishes later: ErrNotSent says so. docs/names.md explains names.
//
// # Errors
//
// Test errors with errors.Is: block.ErrNotFound for a missing block, block.ErrDamaged
// for one whose bytes changed, ErrNoSource if nothing asked has it, ErrOffline,
// ErrNotFile and ErrNotDirectory; store.ErrLocked, store.ErrDiskFull and others of
// that package.
//
// All input from outside is bounded. None makes the package panic or ends the program.
//
// # Concurrency
//
// A Node is safe for concurrent use. There is no global state: several nodes in one
// process are independent. docs/architecture.md describes how the packages depend on
// each other.
package cairn
