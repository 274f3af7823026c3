// Package ipld is the data model behind blocks: the codecs that turn values
// into bytes, the values themselves, and the paths that lead through them.
//
// A [Codec] encodes and decodes nodes of the IPLD data model (dag-cbor,
// dag-json, dag-pb, cbor, json, raw). [Encode] and [Decode] do the same for Go
// values, in dag-cbor. [ParsePath] reads the text that names content. [Resolve]
// follows a path from a root to a block, through directories of UnixFS and links
// in values; [NodeAt] follows one to a value inside a block. [DAGReader] gets
// blocks from a stream of a DAG.
//
// Blocks, paths and values may be hostile: memory and depth are bounded, and
// constants say how. All functions may be called concurrently.
//
// The package does not read files and directories (package unixfs), find links
// or walk DAGs (package dag), or resolve names.
package ipld
