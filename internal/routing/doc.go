// Package routing finds providers of a CID, addresses of a peer, and records
// under /ipns and /pk, and announces this node's own CIDs.
//
// The key type is [Router]; [New] makes one over a libp2p host. Each lookup
// asks all sources at once: a cache of providers that survives restarts, the
// plugged-in [Finder] values, the DHT (one for the internet, one for the local
// network, and a table of the whole network in [ModeAccelerated]), and delegated
// routers over HTTP. Answers are yielded as they arrive, each once, until the
// caller stops ranging. A lookup fails only if every source failed and none
// answered. [WithTrace] shows each step of a lookup.
//
// [Router.Provide] announces a CID at once and keeps it announced: a keystore
// holds what to announce, and a sweep goes through it once in 22 hours, peers
// in the order of their ids. [Router.Stats] reports whether 22 hours suffice. A
// [List] lists what belongs in the keystore.
//
// Answers from outside are bounded, and their addresses filtered: no answer
// from the internet makes us dial a private address.
//
// A Router is safe for concurrent use; Close waits for its goroutines. It keeps
// its state in a [rows.Store], which the caller provides.
//
// The package moves no blocks, resolves no names, and checks no more of an IPNS
// record than its signature and its validity. The rooms above do that.
package routing
