package unixfs

import (
	"context"
	"sync"

	"github.com/cairn-ipfs/cairn/block"
)

// The window and the step bound an import's memory: at most window steps are in
// progress, each of at most one chunk, besides one batch for the Putter.
const (
	// windowPerWorker: one step being run, one waiting to be put.
	windowPerWorker = 2
	// windowExtra keeps workers busy while a slow step delays the order.
	windowExtra = 4
	// stepOps bounds the operations in one step: enough that handing over a step
	// costs little beside its small files, few enough that the open directories
	// of steps don't exhaust a process's file descriptors.
	stepOps = 32
)

// A step goes from the walker to a worker and on to the builder: a few
// operations in the order of the tree, of at most one chunk together.
type step struct {
	ops   []op
	bytes int
	err   error         // the walker's error, in the last step
	done  chan struct{} // closed by the worker
}

// release releases what the operations from the given one on hold.
func (s *step) release(from int) {
	for i := from; i < len(s.ops); i++ {
		s.ops[i].release()
	}
}

// A pipeline carries steps: one goroutine produces them, several run them, and
// the caller consumes them in order.
type pipeline struct {
	ctx     context.Context // of this import only; it ends with it
	cancel  context.CancelFunc
	pool    *leafPool
	slots   chan struct{} // one token for each step in progress
	work    chan *step
	ordered chan *step
	workers sync.WaitGroup
}

func newPipeline(ctx context.Context, put block.Putter, o Options) *pipeline {
	window := windowPerWorker*o.Workers + windowExtra
	p := &pipeline{
		pool:    newLeafPool(o.Profile, put, window),
		slots:   make(chan struct{}, window),
		work:    make(chan *step, window),
		ordered: make(chan *step, window),
	}
	p.ctx, p.cancel = context.WithCancel(ctx)
	for range o.Workers {
		p.workers.Go(func() {
			for s := range p.work {
				for i := range s.ops {
					s.ops[i].run(p.ctx, p.pool)
				}
				close(s.done)
			}
		})
	}
	return p
}

// produce runs walk, which sends steps, and ends the stream with its error.
func (p *pipeline) produce(o Options, walk func(*walker) error) {
	w := &walker{pipeline: p, options: o, filter: newFilter(o)}
	err := w.run(walk)
	// The builder sees the error in its turn, after all that came before.
	if p.acquire() {
		s := &step{err: err, done: make(chan struct{})}
		close(s.done)
		p.ordered <- s
	}
	close(p.work)
	close(p.ordered)
}

// acquire waits for room in the window. It returns false if the import ended.
func (p *pipeline) acquire() bool {
	if p.ctx.Err() != nil {
		return false
	}
	select {
	case p.slots <- struct{}{}:
		return true
	case <-p.ctx.Done():
		return false
	}
}

// release makes room in the window.
func (p *pipeline) release() { <-p.slots }

// send hands a step over. It never blocks: the channels hold a window of steps.
func (p *pipeline) send(s *step) {
	p.work <- s
	p.ordered <- s
}

// stop ends the producer and the workers and waits for them.
func (p *pipeline) stop() {
	p.cancel()
	for s := range p.ordered {
		<-s.done
		s.release(0)
	}
	p.workers.Wait()
}
