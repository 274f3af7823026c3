// Package cairn is the root of a small, fast, reliable IPFS node for Go. The
// node itself, which a program embeds with one call, is to live here; it is
// not written yet, and so the package has no code.
//
// What can be used today are the rooms below it: package block has the shared
// words (a block, its CID, the limits and errors), package store keeps blocks
// durably on disk and keeps alive what names point to, and the command
// cmd/cairn adds, reads, keeps and verifies files from a shell.
// docs/architecture.md describes how the rooms stand on each other, and
// house_test.go holds them there.
package cairn
