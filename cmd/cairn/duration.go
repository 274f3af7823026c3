package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// formatDuration prints a duration as it is typed: 90s, 5m, 7d.
func formatDuration(d time.Duration) string {
	for _, u := range []struct {
		name string
		size time.Duration
	}{{"d", day}, {"h", time.Hour}, {"m", time.Minute}} {
		if d >= u.size && d%u.size == 0 {
			return strconv.FormatInt(int64(d/u.size), 10) + u.name
		}
	}
	return d.String()
}

// parseDuration parses what formatDuration prints, and Go's durations. Negative
// ones are invalid.
func parseDuration(s string) (time.Duration, error) {
	if days, found := strings.CutSuffix(strings.TrimSpace(s), "d"); found {
		n, err := strconv.ParseFloat(days, 64)
		if err == nil && n >= 0 && n*float64(day) < math.MaxInt64 {
			return time.Duration(n * float64(day)), nil
		}
	} else if d, err := time.ParseDuration(strings.TrimSpace(s)); err == nil && d >= 0 {
		return d, nil
	}
	return 0, fmt.Errorf("%q is no duration: say it as 90s, 12h or 7d", s)
}

// A durationFlag is a flag whose value is a duration. Zero: not set.
type durationFlag time.Duration

func (f *durationFlag) String() string {
	if *f == 0 {
		return ""
	}
	return formatDuration(time.Duration(*f))
}

func (f *durationFlag) Type() string { return "duration" }

func (f *durationFlag) Set(s string) error {
	d, err := parseDuration(s)
	*f = durationFlag(d)
	return err
}
