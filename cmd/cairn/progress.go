package main

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress draws how far a command has come, where stderr is a terminal and
// the user didn't ask for quiet, until the function it returns is called (more
// than once does no harm). The numbers come from done, which may be called at
// any time until then; total 0 is unknown.
func (a *app) progress(what string, done func() (bytes, total int64)) (stop func()) {
	if !a.errTerminal || a.quiet {
		return func() {}
	}
	begun := time.Now()
	var last atomic.Pointer[extent] // a bar's own may be drawn between being set
	last.Store(new(extent))
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
		last.Store(&extent{n, total})
		// A total that is reached would end the bar.
		bar.SetTotal(max(total, n)+1, false)
		bar.SetCurrent(n)
	})
	return sync.OnceFunc(func() {
		end()
		bar.Abort(true)
		p.Wait()
	})
}

// An extent is how much of something is done.
type extent struct{ done, total int64 }

// remaining is how long it takes still at the pace so far, where that can be
// told.
func remaining(current, total int64, so time.Duration) string {
	if current <= 0 || total <= current || so < time.Second {
		return ""
	}
	left := time.Duration(float64(so) * float64(total-current) / float64(current))
	return "  " + left.Round(time.Second).String() + " left"
}
