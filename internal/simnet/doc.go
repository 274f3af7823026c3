// Package simnet makes slow networks with known properties, for tests: a simulated
// network for libp2p hosts, and a TCP proxy for real sockets.
//
// The key types are [Link], the properties; [Net], a network whose hosts use QUIC
// over packets in memory (marcopolo/simnet), without sockets, so that it runs under
// testing/synctest, in simulated time; [Firewalls], a network whose hosts are behind
// firewalls; and [Proxy], which stands between real programs, delays bytes by half
// the round trip in each direction, limits the bandwidth, counts bytes, and resets
// all connections when a test cuts the line.
//
// Delay does not limit throughput: bytes in flight wait in a queue until they are
// due, and the queue is as long as the link. Neither network loses or reorders
// anything by itself (Net drops packets from a queue that stands too long, as
// routers with CoDel do).
//
// Everything is safe for concurrent use. Close waits for every goroutine.
//
// The package is not for production, and does not model TCP: the two sides of a
// Proxy are connections of the local kernel, without congestion control between
// them.
package simnet
