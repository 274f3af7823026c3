package main

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cairn-ipfs/cairn"
)

// shownDistance is how many bytes of a distance are shown: as the bits that
// follow are those of chance, four tell any two peers apart.
const shownDistance = 4

// way prints the questions of a look-up, by source and hop.
func (l *lookUp) way() error {
	var sources []string
	by := make(map[string][]cairn.TraceEvent)
	for _, e := range l.asked {
		if by[e.Source] == nil {
			sources = append(sources, e.Source)
		}
		by[e.Source] = append(by[e.Source], e)
	}
	slices.Sort(sources)
	slowest := time.Duration(-1)
	for _, e := range l.asked {
		slowest = max(slowest, e.Took)
	}
	for _, source := range sources {
		if err := l.wayOf(source, by[source], slowest); err != nil {
			return err
		}
	}
	for _, r := range l.raced {
		if err := l.show(nil, "%s told of %d, first after %s", printable(r.source), r.found, shortly(r.after)); err != nil {
			return err
		}
	}
	return l.show(nil, "%d questions, %s", len(l.asked), shortly(time.Since(l.began)))
}

// wayOf prints the questions of one source.
func (l *lookUp) wayOf(source string, asked []cairn.TraceEvent, slowest time.Duration) error {
	slices.SortStableFunc(asked, func(a, b cairn.TraceEvent) int {
		return cmp.Or(cmp.Compare(a.Hop, b.Hop), bytes.Compare(b.Distance[:], a.Distance[:]))
	})
	if err := l.show(nil, "\n%s\n%-4s %-10s %-7s %-10s %-8s %s", printable(source), "hop", "peer", "shared", "distance", "took", "said"); err != nil {
		return err
	}
	for _, e := range asked {
		hop, who, shared, distance := "-", "-", "-", "-"
		if e.Peer != "" {
			id := e.Peer.String()
			who = "…" + id[max(0, len(id)-8):]
			hop, shared = fmt.Sprint(e.Hop), fmt.Sprintf("%d bits", e.Prefix)
			distance = hex.EncodeToString(e.Distance[:shownDistance]) + "…"
		}
		mark := ""
		if e.Took == slowest {
			mark = "   <- the slowest"
		}
		err := l.show(nil, "%-4s %-10s %-7s %-10s %-8s %s%s", hop, who, shared, distance, shortly(e.Took), said(e), mark)
		if err != nil {
			return err
		}
	}
	return l.show(nil, "")
}

// said is what somebody answered.
func said(e cairn.TraceEvent) string {
	if e.Err != nil {
		text, _, _ := strings.Cut(e.Err.Error(), "\n")
		return "no answer: " + printable(text)
	}
	var parts []string
	if n := len(e.Providers); n > 0 {
		parts = append(parts, fmt.Sprintf("%d have it", n))
	}
	if e.Value {
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

// shortly prints a duration as one wants to compare it.
func shortly(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%dms", d.Milliseconds())
	}
	return fmt.Sprintf("%dµs", d.Microseconds())
}
