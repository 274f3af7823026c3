package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// units of sizes. The binary ones come first: sizes are printed in them.
var units = []struct {
	name string
	size float64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
}

// formatSize prints bytes with the largest binary unit that fits, and at most
// one digit after the point: 64MiB, 1.5KiB, 0B.
func formatSize(n int64) string {
	for _, u := range units[:4] {
		if float64(n) >= u.size {
			return strings.TrimSuffix(strconv.FormatFloat(float64(n)/u.size, 'f', 1, 64), ".0") + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// parseSize parses what formatSize prints, other units, and plain bytes.
func parseSize(s string) (int64, error) {
	number, unit := strings.TrimSpace(s), 1.0
	for _, u := range units {
		if rest, found := strings.CutSuffix(number, u.name); found {
			number, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil && n >= 0 && float64(n)*unit < math.MaxInt64 {
		return n * int64(unit), nil
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || !(f >= 0) || f*unit >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is no size: say it as 64MiB", s)
	}
	return int64(f * unit), nil
}

// A sizeFlag is a flag whose value is a size.
type sizeFlag int64

func (f *sizeFlag) String() string { return formatSize(int64(*f)) }
func (f *sizeFlag) Type() string   { return "size" }

func (f *sizeFlag) Set(s string) error {
	n, err := parseSize(s)
	*f = sizeFlag(n)
	return err
}
