// Package names holds keys, makes and checks IPNS records, publishes and
// resolves names, and reads DNSLinks.
//
// A [Name] is the multihash of a public key. [Keys] keeps private keys in a
// folder. A [Record] is what an owner signed: immutable, authentic by the time
// anybody holds one, and kept as the bytes that came, so that it is passed on
// unchanged. [Names] publishes and resolves over what the rooms beside it
// bring: value stores (the DHT, delegated routers), topics of pubsub, a host
// for the fetch protocol, and a durable [State]. A [DNSLink] resolves domains.
//
// The rules of [Names] about sequences:
//
//   - The highest sequence that was seen in a valid record of a name is
//     remembered over restarts, and a record with a lower one is refused
//     (ErrRollback). An expired record doesn't count: otherwise whoever kept
//     an old one could block a name whose owner began anew.
//   - Who reads is answered by the first valid record; the look-up goes on in
//     the background. A record that was heard of within its TTL answers at
//     once, and for a while longer, too, while a look-up refreshes it.
//   - Who writes waits for the look-up to end, and Publish signs above all
//     that was found, valid or expired, or remembered.
//
// Everything is safe for concurrent use. Close waits for every goroutine; a
// value store, a topic or a state whose call doesn't end with its context
// delays that, but never an answer.
//
// The specifications: IPNS record and IPNS PubSub router (specs.ipfs.tech),
// DNSLink (dnslink.dev), libp2p fetch 0.0.1, DNS over HTTPS (RFC 8484).
//
// The package has no routing of its own, fetches no blocks and looks into
// none: a path below a root is for others to walk.
package names
