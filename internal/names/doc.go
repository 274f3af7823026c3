// Package names holds keys, makes and checks IPNS records, publishes and
// resolves names, and reads DNSLinks.
//
// A [Name] is the multihash of a public key. [Keys] keeps private keys in a
// folder. A [Record] is what an owner signed: immutable, authentic, and kept as
// the bytes that came, so that it is passed on unchanged. [Names] publishes and
// resolves through what its [Config] provides: value stores (the DHT, delegated
// routers), pubsub topics, a host for the fetch protocol, and a durable [rows.Store].
// A [DNSLink] resolves domains.
//
// The rules about sequences:
//
//   - Names remembers, across restarts, the highest sequence of a name's valid
//     records, and refuses a record with a lower one (ErrRollback). An expired
//     record doesn't count: otherwise an old one could block a name whose owner
//     began anew.
//   - A read returns the first valid record while the lookup continues in the
//     background. A record confirmed within its TTL answers at once, and for a
//     while longer while a lookup refreshes it.
//   - A write waits for the lookup to end. Publish signs above every sequence
//     that was found, valid or expired, or remembered.
//
// Everything is safe for concurrent use. Close waits for every goroutine. A
// value store, a topic or a state that ignores its context delays Close, but
// never an answer.
//
// The specifications: IPNS record and IPNS PubSub router (specs.ipfs.tech),
// DNSLink (dnslink.dev), libp2p fetch 0.0.1, DNS over HTTPS (RFC 8484).
//
// The package has no routing of its own and reads no blocks: the path below a
// root is resolved elsewhere.
package names
