package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/rpc"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"
)

// standardFound is how many providers are enough, unless more are asked for.
const standardFound = 20

var errNobody = errors.New("nobody on the network is known to have it")

func (a *app) findCommand() *cobra.Command {
	var trace bool
	var most int
	cmd := &cobra.Command{
		Use:   "find CID|PEER",
		Short: "Find out who has something, or where a peer is",
		Long: `Asks everybody at once who has what CID names: the DHT, delegated routers, and
what is remembered of earlier answers; and prints each provider as it is told
of: its id, who told, and its addresses. For a peer, whose id is given as
12D3Koo… or /p2p/ID, it prints its addresses.

--trace shows the way: whom the look-up asked, how far that peer is from what
is looked for (bits that the two have in common, and how their XOR begins), what
it said, and how long it took.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: a.completeRef(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if most < 0 {
				return conflict("find: --limit is 0, for all, or more")
			}
			ctx := cmd.Context()
			return a.withRepo(ctx, func(s repo) error {
				l := &lookUp{app: a, began: time.Now(), tracing: trace, most: most}
				if id, ok := isPeer(args[0]); ok {
					return l.peer(ctx, s, id)
				}
				c, err := find(ctx, s, args[0])
				if err != nil {
					return fmt.Errorf("find: %w", err)
				}
				return l.content(ctx, s, c)
			})
		},
	}
	cmd.Flags().BoolVar(&trace, "trace", false, "show whom the look-up asks, and what they say")
	cmd.Flags().IntVar(&most, "limit", standardFound, "stop after so many `providers`; 0: ask until everybody has answered")
	return cmd
}

// isPeer tells whether an argument names a peer. What could be either is a CID.
func isPeer(s string) (peer.ID, bool) {
	if id, found := strings.CutPrefix(s, "/p2p/"); found {
		s = id
	} else if c, err := cid.Decode(s); err == nil && c.Type() != cid.Libp2pKey {
		return "", false
	}
	id, err := peer.Decode(s)
	return id, err == nil
}

// A lookUp is one run of the command find.
type lookUp struct {
	*app
	began   time.Time
	tracing bool
	most    int

	mu    sync.Mutex // guards the following, and printing
	over  bool
	asked []cairn.TraceEvent
	found int
	raced []racer // in the order in which they told of somebody
}

// A racer is a source that told of somebody.
type racer struct {
	source string
	after  time.Duration // until the first
	found  int
}

// content looks for the providers of a CID.
func (l *lookUp) content(ctx context.Context, s repo, c cid.Cid) (err error) {
	told := make(map[peer.ID]bool)
	for p, perr := range s.FindProviders(ctx, c, l.trace()) {
		if perr != nil {
			err = perr
			break
		}
		if err = l.tell(p.Source, rpc.ShapeOfProvider(p), told[p.ID]); err != nil {
			return err
		}
		if told[p.ID] = true; len(told) == l.most {
			break
		}
	}
	return l.end(c.String(), err)
}

// peer looks for a peer's addresses.
func (l *lookUp) peer(ctx context.Context, s repo, id peer.ID) (err error) {
	for p, perr := range s.FindPeer(ctx, id, l.trace()) {
		if perr != nil {
			err = perr
			break
		}
		if err = l.tell(p.Source, rpc.ShapeOfFoundPeer(p), false); err != nil {
			return err
		}
	}
	return l.end(id.String(), err)
}

// trace is told of questions, nil if nobody wants to know.
func (l *lookUp) trace() func(cairn.TraceEvent) {
	if !l.tracing {
		return nil
	}
	return func(e cairn.TraceEvent) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.over {
			return // late
		}
		l.asked = append(l.asked, e)
		if l.json {
			_ = l.show(rpc.ShapeOfQuestion(e), "") // the end says it, too
		}
	}
}

// tell prints who was found; again in JSON alone.
func (l *lookUp) tell(source string, found rpc.FindShape, again bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.found++
	i := slices.IndexFunc(l.raced, func(r racer) bool { return r.source == source })
	if i < 0 {
		i = len(l.raced)
		l.raced = append(l.raced, racer{source: source, after: time.Since(l.began)})
	}
	l.raced[i].found++
	format := "%s %s %s"
	if again {
		format = ""
	}
	addrs := strings.Join(found.Addresses, " ")
	if err := l.show(found, format, found.PeerID, printable(source), printable(addrs)); err != nil {
		return err
	}
	return l.out.Flush() // the rest may take a minute
}

// end shows the way, and says whether anybody was found.
func (l *lookUp) end(what string, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	if l.tracing && !l.json {
		if terr := l.way(); terr != nil {
			return terr
		}
	}
	switch {
	case err != nil && l.found == 0:
		return fmt.Errorf("find %s: %w", what, err)
	case l.found == 0:
		return fmt.Errorf("find %s: %w", what, errNobody)
	}
	return nil
}
