package bench_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A row is one line of the table.
type row struct {
	work      string
	kubo      string  // Kubo's figure, if known
	yardstick string  // its name; empty: none
	beside    float64 // the yardstick's figure
	cairn     float64 // Cairn's figure
	unit      string  // of both
	goal      goal
}

// A goal bounds the ratio of Cairn to the yardstick, or Cairn's figure itself. At
// most one of the fields is set.
type goal struct {
	ratio, atMost, atLeast float64
}

func (r row) ratio() float64 { return r.cairn / r.beside }

// met returns yes or no, or nothing if there is no goal.
func (r row) met() string {
	var met bool
	switch g := r.goal; {
	case g.ratio > 0:
		met = r.ratio() <= g.ratio
	case g.atMost > 0:
		met = r.cairn <= g.atMost
	case g.atLeast > 0:
		met = r.cairn >= g.atLeast
	default:
		return ""
	}
	if met {
		return "yes"
	}
	return "**no**"
}

// goalText returns the goal as text for the table.
func (r row) goalText() string {
	switch g := r.goal; {
	case g.ratio > 0:
		return fmt.Sprintf("≤ %.4g ×", g.ratio)
	case g.atMost > 0:
		return "≤ " + formatQuantity(g.atMost, r.unit)
	case g.atLeast > 0:
		return "≥ " + formatQuantity(g.atLeast, r.unit)
	}
	return ""
}

func (r row) besideText() string {
	if r.yardstick == "" {
		return ""
	}
	return formatQuantity(r.beside, r.unit)
}

func (r row) ratioText() string {
	if r.yardstick == "" {
		return ""
	}
	return fmt.Sprintf("%.2f", r.ratio())
}

// String returns the row as one line of a log.
func (r row) String() string {
	s := r.work + ": " + formatQuantity(r.cairn, r.unit)
	if r.yardstick != "" {
		s += fmt.Sprintf("; %s: %s; ratio %s", r.yardstick, r.besideText(), r.ratioText())
	}
	if met := r.met(); met != "" {
		s += fmt.Sprintf("; goal %s: %s", r.goalText(), strings.Trim(met, "*"))
	}
	return s
}

// formatQuantity formats a number with three digits, or all those before the point.
func formatQuantity(v float64, unit string) string {
	digits := 2
	for n := v; n >= 10 && digits > 0; n /= 10 {
		digits--
	}
	for n := v; n > 0 && n < 1 && digits < 6; n *= 10 {
		digits++
	}
	text := fmt.Sprintf("%.*f", digits, v)
	if unit == "/s" {
		return text + unit
	}
	return text + " " + unit
}

// lookupSection returns the last section of the present page, which package
// internal/routing writes.
func lookupSection(path string) string {
	const heading = "## Lookups in a large network\n"
	page, err := os.ReadFile(path)
	if err != nil {
		return "" // there is no page yet
	}
	_, tail, found := strings.Cut(string(page), heading)
	if !found {
		return ""
	}
	return "\n" + heading + tail
}

// formatReport returns docs/performance.md without its lookupSection.
func formatReport(rows []row) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Performance

`+"`make bench`"+` writes this page; package `+"`internal/bench`"+` says how each figure is measured.
Ratios within one run hold on other machines, times do not. Kubo was measured separately, in July 2026, on a machine
like this one (0.44-dev, two daemons on loopback, its default store, which does not sync its writes).
Boxo's client and server run on go-libp2p's host with its default settings, as in Kubo.

| | |
|---|---|
| date | %s |
| cores | %d |
| CPU | %s |
| kernel | %s |
| Go | %s |

| work | Kubo | yardstick | measured | Cairn | ratio | goal | met |
|---|---|---|---|---|---|---|---|
`, time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), cpuModel(), kernelName(), runtime.Version())
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n",
			r.work, r.kubo, r.yardstick, r.besideText(), formatQuantity(r.cairn, r.unit), r.ratioText(), r.goalText(), r.met())
	}
	return b.String()
}

// cpuModel returns the processor's name, if the system has it.
func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range bytes.Lines(info) {
		if name, value, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// kernelName returns the operating system and, if known, its release.
func kernelName() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return runtime.GOOS + " " + strings.TrimSpace(string(release))
}

func TestRow(t *testing.T) {
	for _, c := range []struct {
		row             row
		line, met, goal string
	}{
		{row{work: "add", yardstick: "loop", beside: 1.6, cairn: 2, unit: "s", goal: goal{ratio: 1.25}},
			"add: 2.00 s; loop: 1.60 s; ratio 1.25; goal ≤ 1.25 ×: yes", "yes", "≤ 1.25 ×"},
		{row{work: "add", yardstick: "loop", beside: 1, cairn: 1.26, unit: "s", goal: goal{ratio: 1.25}},
			"add: 1.26 s; loop: 1.00 s; ratio 1.26; goal ≤ 1.25 ×: no", "**no**", "≤ 1.25 ×"},
		{row{work: "open", cairn: 99.6, unit: "ms", goal: goal{atMost: 100}},
			"open: 99.6 ms; goal ≤ 100 ms: yes", "yes", "≤ 100 ms"},
		{row{work: "absent", cairn: 499_999, unit: "/s", goal: goal{atLeast: 500_000}},
			"absent: 499999/s; goal ≥ 500000/s: no", "**no**", "≥ 500000/s"},
		{row{work: "index", cairn: 61.25, unit: "B"}, "index: 61.2 B", "", ""},
	} {
		if got := c.row.String(); got != c.line {
			t.Errorf("got %q, want %q", got, c.line)
		}
		if got := c.row.met(); got != c.met {
			t.Errorf("%s: got met %q, want %q", c.row.work, got, c.met)
		}
		if got := c.row.goalText(); got != c.goal {
			t.Errorf("%s: got goal %q, want %q", c.row.work, got, c.goal)
		}
	}
}
