package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cairn-ipfs/cairn/internal/control"
)

// shownDistance is how many digits of a distance are shown: eight tell any two
// peers apart.
const shownDistance = 8

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
		if err := l.show(nil, "%s told of %d, first after %s", printable(r.source), r.found, formatShort(r.after)); err != nil {
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
	if err := l.show(nil, "\n%s\n%-4s %-10s %-7s %-10s %-8s %s", printable(source), "hop", "peer", "shared", "distance", "took", "said"); err != nil {
		return err
	}
	for _, e := range asked {
		hop, who, shared, distance := "-", "-", "-", "-"
		if id := e.PeerID; id != "" {
			who = "…" + id[max(0, len(id)-8):]
			hop, shared = fmt.Sprint(e.Hop), fmt.Sprintf("%d bits", e.SharedBits)
			distance = e.Distance[:min(len(e.Distance), shownDistance)] + "…"
		}
		mark := ""
		if e.Took == slowest {
			mark = "   <- the slowest"
		}
		err := l.show(nil, "%-4s %-10s %-7s %-10s %-8s %s%s", hop, who, shared, distance, formatShort(e.Took), answerOf(e), mark)
		if err != nil {
			return err
		}
	}
	return l.show(nil, "")
}

// answerOf is what a peer or router answered.
func answerOf(e control.Finding) string {
	if e.Error != "" {
		text, _, _ := strings.Cut(e.Error, "\n")
		return "no answer: " + printable(text)
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
