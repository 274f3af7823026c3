package simnet

import "time"

// A Link has the delay and the bandwidth of a connection. The zero Link is as fast
// as the machine.
type Link struct {
	// RTT is the round trip time: each direction delays by half of it. 0: none.
	RTT time.Duration

	// Bandwidth is the bandwidth of each direction, in bits per second, which all
	// connections share. 0: unlimited.
	Bandwidth int64
}

// sendTime returns how long it takes to send n bytes.
func (l Link) sendTime(n int) time.Duration {
	if l.Bandwidth <= 0 {
		return 0
	}
	return time.Duration(float64(n) * 8 / float64(l.Bandwidth) * float64(time.Second))
}

// delay returns the delay of one direction.
func (l Link) delay() time.Duration { return l.RTT / 2 }
