// Package store keeps content-addressed blocks on disk, durably, and keeps
// alive what is reachable from names.
//
// The nouns: a [Store] holds blocks. An alias is a name for a root and keeps
// the root's whole DAG alive, also while parts of it are still missing. A
// [TempPin] does the same until it is released or the process ends. A [Batch]
// changes several of these at once, or nothing. What no alias or pin reaches
// is garbage: a cache, evicted when the space is needed. A [Space] is a small
// key-value area for the packages above, written in the same batches.
//
// Acknowledged means: Commit, SetAlias, RemoveAlias or Flush returned nil.
// What was acknowledged survives a crash at any later moment. Put alone only
// caches.
//
// Data lie in packs (package internal/pack), each byte written once. Facts lie
// in an index (Pebble). One goroutine, the committer, makes all changes: it
// appends blocks to packs, syncs the packs, then writes one synced batch to
// the index. So the index never points at bytes that aren't there. See
// docs/architecture.md for the invariants and the reasons.
//
// A Store is safe for use by any number of goroutines. One process at a time
// may have a repository open; Open names that process to the others.
//
// The package does not use the network, nor does it know files and directories.
package store
