package httpapi

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		stop := Every(time.Second, func() { calls++ })
		time.Sleep(3500 * time.Millisecond)
		stop()
		time.Sleep(time.Minute)
		if calls != 3 {
			t.Errorf("got %d calls in 3.5 intervals, want 3", calls)
		}
	})
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []int64
		report := Pace(func(done, _ int64) { got = append(got, done) })
		for i := range int64(10) {
			report(i, 10)
			time.Sleep(ProgressEvery / 4)
		}
		if len(got) != 3 || got[0] != 0 || got[1] != 4 || got[2] != 8 {
			t.Errorf("got %v, want reports 0, 4 and 8", got)
		}
	})
}
