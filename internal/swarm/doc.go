// Package swarm is a node's presence among its peers: a libp2p host with what a
// node needs around it.
//
// The key type is [Swarm]; [New] makes one of a [Config]. It listens over TCP,
// QUIC, WebTransport and WebSocket, knows its peers' addresses by a bounded book
// that dialling confirms or refutes (kept in an [AddressStore] if there is one),
// dials protected peers again when they go, refuses banned ones, keeps to a
// number of connections that a home router bears, finds peers of the local
// network (mDNS), sends messages over gossipsub or directly ([Topic]), and tells
// what happens ([Event]). [MarshalKey] and [UnmarshalKey] put an identity into a
// file.
//
// Everything is safe for concurrent use. Close waits for every goroutine of the
// swarm's own and closes the host.
//
// The package moves no blocks and finds no providers: rooms above speak their
// protocols over [Swarm.Host]. It sets nothing global; go-libp2p logs by its own
// settings, which are the program's.
package swarm
