package main

import (
	"cmp"
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

// defaultProviders is the default number of providers to find.
const defaultProviders = 20

var errNoProvider = errors.New("nobody on the network is known to have it")

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
				return usageErrorf("find: --limit is 0, for all, or more")
			}
			ctx := cmd.Context()
			return a.withRepo(ctx, func(s repo) error {
				l := &lookup{app: a, began: time.Now(), tracing: trace, most: most}
				if id, ok := parsePeer(args[0]); ok {
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
	cmd.Flags().IntVar(&most, "limit", defaultProviders, "stop after so many `providers`; 0: ask until everybody has answered")
	return cmd
}

// parsePeer parses an argument that names a peer, and reports whether it does.
// An argument that may be a CID, too, is a CID.
func parsePeer(s string) (peer.ID, bool) {
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
	sources   []sourceCount // in the order of their first result
}

// A sourceCount counts the results of one source.
type sourceCount struct {
	source string
	after  time.Duration // until the first result
	found  int
}

// run prints the findings of a lookup for what.
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
		return fmt.Errorf("find %s: %w", what, errNoProvider)
	}
	return nil
}

// showFound prints a result. One that repeats a peer is printed in JSON only.
func (l *lookup) showFound(f control.Finding, repeated bool) error {
	l.found++
	i := slices.IndexFunc(l.sources, func(s sourceCount) bool { return s.source == f.Source })
	if i < 0 {
		i = len(l.sources)
		l.sources = append(l.sources, sourceCount{source: f.Source, after: time.Since(l.began)})
	}
	l.sources[i].found++
	format := "%s %s %s"
	if repeated {
		format = ""
	}
	if err := l.show(f, format, f.PeerID, escape(f.Source), escape(strings.Join(f.Addresses, " "))); err != nil {
		return err
	}
	return l.out.Flush() // the rest may take a minute
}

// distanceDigits is how many digits of a distance are printed: eight distinguish
// any two peers.
const distanceDigits = 8

// showTrace prints the questions of a lookup, by source and hop.
func (l *lookup) showTrace() error {
	var sources []string
	by := make(map[string][]control.Finding)
	for _, e := range l.questions {
		if by[e.Source] == nil {
			sources = append(sources, e.Source)
		}
		by[e.Source] = append(by[e.Source], e)
	}
	slices.Sort(sources)
	slowest := time.Duration(-1)
	for _, e := range l.questions {
		slowest = max(slowest, e.Took)
	}
	for _, source := range sources {
		if err := l.showQuestions(source, by[source], slowest); err != nil {
			return err
		}
	}
	for _, r := range l.sources {
		if err := l.show(nil, "%s told of %d, first after %s", escape(r.source), r.found, formatShort(r.after)); err != nil {
			return err
		}
	}
	return l.show(nil, "%d questions, %s", len(l.questions), formatShort(time.Since(l.began)))
}

// showQuestions prints the questions of one source.
func (l *lookup) showQuestions(source string, asked []control.Finding, slowest time.Duration) error {
	slices.SortStableFunc(asked, func(a, b control.Finding) int {
		return cmp.Or(cmp.Compare(a.Hop, b.Hop), cmp.Compare(b.Distance, a.Distance))
	})
	if err := l.show(nil, "\n%s\n%-4s %-10s %-7s %-10s %-8s %s", escape(source), "hop", "peer", "shared", "distance", "took", "said"); err != nil {
		return err
	}
	for _, e := range asked {
		hop, who, shared, distance := "-", "-", "-", "-"
		if id := e.PeerID; id != "" {
			who = "…" + id[max(0, len(id)-8):]
			hop, shared = fmt.Sprint(e.Hop), fmt.Sprintf("%d bits", e.SharedBits)
			distance = e.Distance[:min(len(e.Distance), distanceDigits)] + "…"
		}
		mark := ""
		if e.Took == slowest {
			mark = "   <- the slowest"
		}
		err := l.show(nil, "%-4s %-10s %-7s %-10s %-8s %s%s", hop, who, shared, distance, formatShort(e.Took), formatAnswer(e), mark)
		if err != nil {
			return err
		}
	}
	return l.show(nil, "")
}

// formatAnswer describes the answer of a peer or router.
func formatAnswer(e control.Finding) string {
	if e.Error != "" {
		text, _, _ := strings.Cut(e.Error, "\n")
		return "no answer: " + escape(text)
	}
	var parts []string
	if n := len(e.Providers); n > 0 {
		parts = append(parts, fmt.Sprintf("%d have it", n))
	}
	if e.Record {
		parts = append(parts, "a record")
	}
	if n := len(e.Closer); n > 0 {
		parts = append(parts, fmt.Sprintf("%d are closer", n))
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// formatShort prints a duration so that it compares easily.
func formatShort(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%dms", d.Milliseconds())
	}
	return fmt.Sprintf("%dµs", d.Microseconds())
}
