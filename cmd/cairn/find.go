package main

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/cairn-ipfs/cairn/internal/control"
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
				l := &lookup{app: a, began: time.Now(), tracing: trace, most: most}
				if id, ok := isPeer(args[0]); ok {
					return l.run(id.String(), control.FindPeer.Do(ctx, s.Target, control.FindPeerArgs{PeerID: id, Trace: trace}))
				}
				c, err := resolve(ctx, s, args[0])
				if err != nil {
					return fmt.Errorf("find: %w", err)
				}
				return l.run(c.String(), control.FindProviders.Do(ctx, s.Target, control.FindArgs{CID: c, Trace: trace}))
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

// A lookup is one run of the command find.
type lookup struct {
	*app
	began     time.Time
	tracing   bool
	most      int // 0: no limit
	questions []control.Finding
	found     int
	sources   []foundBy // in the order of their first result
}

// A foundBy is a source that found something.
type foundBy struct {
	source string
	after  time.Duration // until the first result
	found  int
}

// run shows what a lookup for what yields.
func (l *lookup) run(what string, findings iter.Seq2[control.Finding, error]) error {
	var failure error
	shown := make(map[string]bool) // by peer id
	for f, err := range findings {
		if err != nil {
			failure = err
			break
		}
		if f.Type == "question" {
			l.questions = append(l.questions, f)
			if l.json {
				err = l.show(f, "")
			}
		} else {
			err = l.showFound(f, f.Type == "provider" && shown[f.PeerID])
			shown[f.PeerID] = true
		}
		if err != nil {
			return err
		}
		if f.Type == "provider" && len(shown) == l.most {
			break
		}
	}
	if l.tracing && !l.json {
		if err := l.showTrace(); err != nil {
			return err
		}
	}
	switch {
	case failure != nil && l.found == 0:
		return fmt.Errorf("find %s: %w", what, failure)
	case l.found == 0:
		return fmt.Errorf("find %s: %w", what, errNobody)
	}
	return nil
}

// showFound shows a result; one that repeats a peer is shown in JSON only.
func (l *lookup) showFound(f control.Finding, repeated bool) error {
	l.found++
	i := slices.IndexFunc(l.sources, func(s foundBy) bool { return s.source == f.Source })
	if i < 0 {
		i = len(l.sources)
		l.sources = append(l.sources, foundBy{source: f.Source, after: time.Since(l.began)})
	}
	l.sources[i].found++
	format := "%s %s %s"
	if repeated {
		format = ""
	}
	if err := l.show(f, format, f.PeerID, printable(f.Source), printable(strings.Join(f.Addresses, " "))); err != nil {
		return err
	}
	return l.out.Flush() // the rest may take a minute
}
