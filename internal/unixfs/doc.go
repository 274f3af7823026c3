// Package unixfs turns files and directories into UnixFS blocks and back
// (https://specs.ipfs.tech/unixfs/, profiles: IPIP-499).
//
// In: [Import] a reader, [ImportFS] a tree of an fs.FS, [ImportPath] whatever
// a path names; what is made is said by a [Profile], and equal inputs under
// equal profiles give equal CIDs, those of Kubo. A [Remembers] spares reading
// files that have not changed. Out: [Open] a [File] that reads, seeks and reads
// ahead; [FS] for everything that takes an fs.FS; [ReadDir], [Lookup],
// [Resolve], [Follow], [Stat] and [Readlink] for directories and links;
// [Export] writes a tree to disk, [ExportTar] as an archive. In between: [Edit]
// makes a new root of an old one. The codec underneath is [Node]: one dag-pb
// block with its UnixFS data.
//
// An import is a pipeline. One goroutine walks and cuts its input into steps
// of at most one chunk, workers read and hash them on all cores, and the
// caller's goroutine takes them in order, builds nodes and directories above
// them, and hands blocks to the [block.Putter] in batches. So blocks come in
// the same order every time, children before parents. At most a window of
// steps is under way, which bounds the memory; besides, the entries of the
// directories that are open are held, about 150 bytes each.
//
// Everything read is taken for hostile: depth, link counts, fanouts and sizes
// are bounded, sizes that contradict each other are errors, and a file's
// declared size costs no memory. What changes while it is imported is an error
// that names it.
//
// Functions are safe for concurrent use, as are a Tree and what FS returns; a
// File is safe for concurrent ReadAt, while its Read, Seek and WriteTo take
// turns.
//
// The package stores nothing, de-duplicates nothing and asks no network: that
// is for the Putter and the Getter that it is given. It resolves no paths
// through codecs other than UnixFS's.
package unixfs
