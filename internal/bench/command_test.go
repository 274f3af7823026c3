package bench_test

import (
	"os"
	"os/exec"
	"path/filepath"
)

// command measures the command as it is shipped.
func command(s *stage) []row {
	if !s.command {
		return nil
	}
	name := filepath.Join(s.TempDir(), "cairn.exe")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", name, "github.com/cairn-ipfs/cairn/cmd/cairn")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	s.check(build.Run())
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
