// Package routing finds who has what: providers of a CID, addresses of a peer,
// records under /ipns and /pk. And it announces what is here.
//
// The key type is [Router]; [New] makes one over a libp2p host. Each question
// goes to every source at once: a cache of providers that survives restarts,
// the [Finder] values plugged in, the DHT (one for the internet, one for the
// local network, and a table of the whole network in [ModeAccelerated]), and
// delegated routers over HTTP. Answers come as they arrive, each once, until
// the caller stops ranging; nobody waits for the slowest. There's an error only
// if every source failed and none answered. [WithTrace] shows each step of a
// look-up.
//
// [Router.Provide] announces a CID at once and keeps it announced: what is to
// be announced lies in a keystore, which is swept once in 22 hours, peers in
// the order of their ids. [Router.Stats] tells whether that fits. A [List]
// says what belongs there.
//
// What comes from outside is bounded, and its addresses are filtered: over the
// internet nobody gets us to dial a private one.
//
// A Router is safe for concurrent use; Close waits for its goroutines. It keeps
// its state through a [Datastore], which the caller implements.
//
// It moves no blocks, resolves no names and checks no IPNS record beyond its
// signature and its validity: that's for the rooms above.
package routing
