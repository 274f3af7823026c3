package routing

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	libp2pswarm "github.com/libp2p/go-libp2p/p2p/net/swarm"
)

func TestBootstrap(t *testing.T) {
	refused := &libp2pswarm.DialError{DialErrors: []libp2pswarm.TransportError{
		{Cause: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}, {Cause: errors.New("further")},
	}}
	slow := &libp2pswarm.DialError{DialErrors: []libp2pswarm.TransportError{{Cause: context.DeadlineExceeded}}}
	nowhere := &libp2pswarm.DialError{Cause: libp2pswarm.ErrNoAddresses}
	why := "0 of %d bootstrap peers were reached: %s"
	for what, c := range map[string]struct {
		peers int
		tried []error
		want  time.Duration
		err   string
	}{
		"no peers":            {0, nil, 0, ""},
		"the second one":      {3, []error{refused, nil}, 0, ""},
		"all of them":         {2, []error{nil, nil}, 0, ""},
		"the first one":       {2, []error{nil, refused}, 0, ""},
		"none of them":        {3, []error{refused, nowhere, refused}, 0, fmt.Sprintf(why, 3, syscall.ECONNREFUSED.Error()+" (2), no addresses")},
		"one is silent":       {2, []error{refused}, FirstPeer, fmt.Sprintf(why, 2, syscall.ECONNREFUSED.Error()+", no answer")},
		"all are silent":      {3, []error{slow}, FirstPeer, fmt.Sprintf(why, 3, "no answer (3)")},
		"a long reason":       {1, []error{errors.New(strings.Repeat("x\n", maxReason))}, 0, fmt.Sprintf(why, 1, strings.Repeat("x ", maxReason/2)+"…")},
		"cut within a letter": {1, []error{errors.New(strings.Repeat("x", maxReason-1) + "äh")}, 0, fmt.Sprintf(why, 1, strings.Repeat("x", maxReason-1)+"…")},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := NewBootstrap(c.peers, FirstPeer)
			for _, err := range c.tried {
				b.Tried(err)
			}
			begin := time.Now()
			err := b.Wait(t.Context())
			if got := fmt.Sprint(err); c.err != "" && got != c.err || c.err == "" && err != nil {
				t.Errorf("%s: got %v, want %q", what, err, c.err)
			}
			if took := time.Since(begin); took != c.want {
				t.Errorf("%s: it took %v, want %v", what, took, c.want)
			}
			begin = time.Now()
			if b.Wait(t.Context()); time.Since(begin) != 0 || !b.IsOver() {
				t.Errorf("%s: the second Wait took %v, want 0", what, time.Since(begin))
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := NewBootstrap(1, FirstPeer).Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
}
