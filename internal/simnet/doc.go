// Package simnet makes networks that are slow in a known way, for tests: a
// simulated one for libp2p hosts, and a TCP proxy for real sockets.
//
// The key types are [Link], which says how slow; [Net], whose hosts speak QUIC
// over packets in memory (marcopolo/simnet), with no socket at all, so that it
// runs under testing/synctest, where a second of the network takes no time;
// [Walls], where such hosts are behind firewalls; and [Proxy], which stands
// between real programs, delays what passes by half the round trip in each
// direction, holds it to a bandwidth, counts it, and resets everything at once
// when a test cuts the line.
//
// Delay does not limit throughput: what is under way waits in a queue until it
// is due, and the queue holds what the link does. Neither of the two loses or
// reorders anything by itself (Net drops packets where a queue stands too long,
// as routers with CoDel do).
//
// Everything is safe for concurrent use. Close waits for every goroutine.
//
// It is not for production, and it is no model of TCP: a Proxy's two sides are
// connections of the local kernel, with no congestion control between them.
package simnet
