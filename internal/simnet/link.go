package simnet

import "time"

// A Link is how slow a connection is. The zero Link is as fast as the machine.
type Link struct {
	// RTT is the round trip time: each direction delays by half of it.
	// 0: none.
	RTT time.Duration

	// Bandwidth is that of each direction, in bits a second, shared by all
	// that passes. 0: unlimited.
	Bandwidth int64
}

// onWire is how long n bytes take to be sent.
func (l Link) onWire(n int) time.Duration {
	if l.Bandwidth <= 0 {
		return 0
	}
	return time.Duration(float64(n) * 8 / float64(l.Bandwidth) * float64(time.Second))
}

// delay is how long a byte travels.
func (l Link) delay() time.Duration { return l.RTT / 2 }
