// Package unixfs turns files and directories into UnixFS blocks and back
// (https://specs.ipfs.tech/unixfs/, profiles: IPIP-499).
//
// In: [Import] a reader, [ImportFS] a tree of an fs.FS, [ImportPath] whatever
// a path names; what is made is said by a [Profile], and equal inputs under
// equal profiles give equal CIDs, those of Kubo. Out: [Open] a [File] that
// reads, seeks and reads ahead; [ReadDir], [Lookup], [Resolve], [Stat] and
// [Readlink] for directories and links; [Export] writes a tree to disk. The
// codec underneath is [Node]: one dag-pb block with its UnixFS data.
//
// An import is a pipeline. One goroutine walks and cuts its input into steps
// of at most one chunk, workers read and hash them on all cores, and the
// caller's goroutine takes them in order, builds nodes and directories above
// them, and hands blocks to the [block.Putter] in batches. So blocks come in
// the same order every time, children before parents. At most a window of
// steps is under way, which bounds the memory.
//
// Everything read is taken for hostile: depth, link counts, fanouts and sizes
// are bounded, sizes that contradict each other are errors, and a file's
// declared size costs no memory.
//
// Functions are safe for concurrent use; a File is safe for concurrent ReadAt,
// while its Read, Seek and WriteTo take turns.
//
// The package stores nothing, de-duplicates nothing and asks no network: that
// is for the Putter and the Getter that it is given. It resolves no paths
// through codecs other than UnixFS's, and edits no tree in place.
package unixfs
