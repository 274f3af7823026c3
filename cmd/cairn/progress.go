package main

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress draws a progress bar until stop is called, if stderr is a terminal
// and --quiet isn't set. It calls done for the numbers, at any time until then;
// a total of 0 is unknown. Stop may be called several times.
func (a *app) progress(what string, done func() (bytes, total int64)) (stop func()) {
	if !a.errTerminal || a.quiet {
		return func() {}
	}
	begun := time.Now()
	var last atomic.Pointer[amount] // the bar has no method to get both
	last.Store(new(amount))
	p := mpb.New(mpb.WithOutput(a.err), mpb.WithAutoRefresh(), mpb.WithRefreshRate(httpapi.ProgressEvery))
	bar := p.New(0, mpb.BarStyle(),
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(what+" ")),
		mpb.AppendDecorators(
			decor.CountersKibiByte("% .1f / % .1f"),
			decor.AverageSpeed(decor.SizeB1024(0), "  % .1f"),
			decor.Any(func(decor.Statistics) string {
				e := last.Load()
				return remaining(e.done, e.total, time.Since(begun))
			}),
		),
	)
	end := httpapi.Every(httpapi.ProgressEvery, func() {
		n, total := done()
		last.Store(&amount{n, total})
		// A bar that reaches its total ends.
		bar.SetTotal(max(total, n)+1, false)
		bar.SetCurrent(n)
	})
	return sync.OnceFunc(func() {
		end()
		bar.Abort(true)
		p.Wait()
	})
}

// An amount is how much is done, of a total.
type amount struct{ done, total int64 }

// remaining formats the time left at the pace so far, empty if unknown.
func remaining(current, total int64, so time.Duration) string {
	if current <= 0 || total <= current || so < time.Second {
		return ""
	}
	left := time.Duration(float64(so) * float64(total-current) / float64(current))
	return "  " + left.Round(time.Second).String() + " left"
}

// A countingReader counts the bytes read.
type countingReader struct {
	r io.Reader
	n *atomic.Int64
}

func (c countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// A countingWriter counts the bytes written.
type countingWriter struct {
	w io.Writer
	n *atomic.Int64
}

func (c countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// A countingSeeker is a countingWriter that seeks.
type countingSeeker struct {
	countingWriter
	io.Seeker
}
