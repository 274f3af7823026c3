package httpapi

import (
	"sync"
	"time"
)

// ProgressEvery is how often progress is reported.
const ProgressEvery = 100 * time.Millisecond

// Every calls do at intervals, until stop is called, which waits for the last
// call.
func Every(interval time.Duration, do func()) (stop func()) {
	quit := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				do()
			}
		}
	})
	return func() {
		close(quit)
		done.Wait()
	}
}

// Pace returns a function that calls report at most once in ProgressEvery.
func Pace(report func(done, total int64)) func(done, total int64) {
	var mu sync.Mutex
	var last time.Time
	return func(done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(last) >= ProgressEvery {
			last = now
			report(done, total)
		}
	}
}
