// Package swarm connects a node to its peers: a libp2p host and what a node needs
// around it.
//
// The key type is [Swarm]; [New] makes one from a [Config]. A swarm listens over
// TCP, QUIC, WebTransport and WebSocket. It keeps a bounded address book, which
// dials confirm or refute, in a [rows.Store] if there is one. It redials
// protected peers, refuses banned ones, limits connections to what a home router
// bears, finds peers in the local network (mDNS), sends messages over gossipsub or
// directly ([Topic]), and reports what happens ([Event]). [MarshalKey] and
// [UnmarshalKey] convert an identity to bytes and back.
//
// Everything is safe for concurrent use. Close waits for every goroutine of the
// swarm and closes the host.
//
// The package moves no blocks and finds no providers: rooms above run their
// protocols over [Swarm.Host]. It changes no global state; go-libp2p logs by its
// own settings, which belong to the program.
package swarm
