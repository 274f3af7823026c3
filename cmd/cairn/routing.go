package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/spf13/cobra"
)

func (a *app) routingCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "routing",
		Short: "Tell how finding and announcing are doing",
		Args:  arguments(0, 0),
		RunE: a.onRepo(func(ctx context.Context, s repo, _ []string) error {
			status, err := control.RoutingStatus.Do(ctx, s.Target, struct{}{})
			if err != nil {
				return fmt.Errorf("routing: %w", err)
			}
			stats, err := control.ProvideStats.Do(ctx, s.Target, struct{}{})
			announces := !errors.Is(err, cairn.ErrNoRouting)
			if err != nil && announces {
				return fmt.Errorf("routing: %w", err)
			}
			return a.showRouting(status, stats, announces)
		}),
	}
}

func (a *app) showRouting(status cairn.RoutingStatus, stats cairn.ProvideStats, announces bool) error {
	if a.json {
		shown := struct {
			cairn.RoutingStatus
			Providing *cairn.ProvideStats `json:"providing"`
		}{RoutingStatus: status}
		if announces {
			shown.Providing = &stats
		}
		return a.show(shown, "")
	}
	rows := [][2]string{
		{"mode", string(status.Mode)},
		{"peers", fmt.Sprintf("%d in the DHT, %d in the local network's", status.Peers, status.LocalPeers)},
	}
	switch {
	case status.Ready:
		rows = append(rows, [2]string{"table", fmt.Sprintf("%d peers, look-ups take one step", status.AllPeers)})
	case status.Mode == cairn.RoutingAccelerated:
		rows = append(rows, [2]string{"table", "being filled"})
	}
	rows = append(rows,
		[2]string{"answers", choose(status.Server, "for the DHT", "nobody: it is a client of the DHT")},
		[2]string{"remembered", fmt.Sprintf("providers of %d CIDs", status.Cached)})
	if announces {
		rows = append(rows, providingRows(stats)...)
	} else {
		rows = append(rows, [2]string{"announced", "nothing, in this mode"})
	}
	return a.showTable(11, rows)
}

func choose(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}

// providingRows describes how announcing goes, and whether it keeps up.
func providingRows(s cairn.ProvideStats) [][2]string {
	what := fmt.Sprintf("%d CIDs", s.Records)
	if s.Records < 0 {
		what = "being counted"
	}
	strategy := string(s.Strategy)
	if strategy == "" {
		strategy = "a list of the program's own"
	}
	sweep := fmt.Sprintf("%d of %d regions within the last %s", s.Visited, s.Regions, formatHours(s.Interval))
	switch {
	case s.Records == 0:
		sweep = "nothing to do"
	case s.SweepTakes == 0:
		sweep += ", none measured yet"
	case s.Fits:
		sweep += fmt.Sprintf("; all take %s: that fits", formatHours(s.SweepTakes))
	default:
		sweep += fmt.Sprintf("; all would take %s: that does NOT fit, some records will lapse", formatHours(s.SweepTakes))
	}
	return [][2]string{
		{"announced", what + " (" + strategy + ")"},
		{"pending", fmt.Sprintf("%d, and %d regions late; %d announced and %d failed since the start", s.Pending, s.Late, s.Announced, s.Failed)},
		{"sweep", sweep},
	}
}

// formatHours formats a duration, a long one without seconds.
func formatHours(d time.Duration) string {
	switch {
	case d >= time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d >= time.Hour:
		d = d.Round(time.Minute)
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Second:
		return d.Round(time.Second).String()
	}
	return d.Round(time.Millisecond).String()
}
