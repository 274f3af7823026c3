package bench_test

import (
	"os"
	"os/exec"
)

// measureCommand measures the stripped command.
func measureCommand(s *stage) []row {
	name := s.buildCommand()
	if name == "" {
		return nil
	}
	info, err := os.Stat(name)
	s.check(err)
	var times []float64
	for range s.calls {
		times = append(times, milliseconds(func() { s.check(exec.Command(name, "version").Run()) }))
	}
	return []row{
		{work: "a command that needs no daemon (`version`), median", kubo: "69 ms", cairn: quantile(times, 0.5), unit: "ms", goal: goal{atMost: 15}},
		{work: "the binary, stripped", kubo: "121 MB unstripped", cairn: float64(info.Size()) / 1e6, unit: "MB", goal: goal{atMost: 45}},
	}
}
