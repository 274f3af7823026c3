// Package unixfs turns files and directories into UnixFS blocks and back
// (https://specs.ipfs.tech/unixfs/, profiles: IPIP-499).
//
// In: [Import] a reader, [ImportFS] a tree of an fs.FS, [ImportPath] a path on
// disk. A [Profile] decides the CIDs: equal inputs under equal profiles give the
// same CIDs, those of Kubo. With a [StatCache], unchanged files are not read.
// Out: [Open] returns a [File] that reads, seeks and reads ahead; [FS] returns an
// fs.FS; [ReadDir], [Lookup] and [Stat] read single nodes; [Export] writes a tree
// to disk, [ExportTar] writes an archive. [Edit] makes a new root from an old
// one. A [Node] is a dag-pb block with its UnixFS data, decoded.
//
// An import is a pipeline. One goroutine walks and cuts its input into steps of
// at most one chunk. Workers read and hash the steps on all cores. The caller's
// goroutine takes them in order, builds nodes and directories above them, and
// hands blocks to the [block.Putter] in batches. So blocks come in the same
// order every time, children before parents. Memory is bounded by a window of
// steps in progress. Besides, it holds the entries of the open directories,
// about 150 bytes each.
//
// All input is untrusted. Depth, link counts, fanouts and sizes are bounded,
// contradictory sizes are errors, and a file's declared size costs no memory. A
// file that changes during the import is an error that names it.
//
// Functions are safe for concurrent use, as are a Tree and an FS. A File is safe
// for concurrent ReadAt, while its Read, Seek and WriteTo take turns.
//
// The package stores nothing, de-duplicates nothing, and uses no network: Putter
// and Getter do. Paths through other codecs are resolved elsewhere.
package unixfs
