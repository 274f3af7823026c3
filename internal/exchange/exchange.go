package exchange

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// Config says what an Exchange works with.
type Config struct {
	// Store is where blocks are written to. It's required.
	Store *store.Store
	// Sources yields sources that may have the DAG below root, as it finds them,
	// until there are no more or ctx ends. Single says that the session wants
	// the block root alone. Nil: sessions ask Options.From and Fallback.
	Sources func(ctx context.Context, root cid.Cid, single bool) iter.Seq[Source]
	// Fallback are sources that join a session after FallbackDelay, such as
	// gateways. Zero: from the beginning.
	Fallback      []Source
	FallbackDelay time.Duration
	// Stall is how long a source that was asked may send nothing before it is
	// dropped. A ReadCounter that sends a block slowly has three minutes more.
	// Zero: 30 s.
	Stall time.Duration
	// Arrived is called with each block that came, once it can be read: peers may
	// wait for it. It must return at once. Nil: no call.
	Arrived func(cids ...cid.Cid)
	// Ended is called at the end of each session with what came from its sources.
	// It must return at once. Nil: no call.
	Ended func(root cid.Cid, sources []SourceProgress)
	// Logger logs sources that fail. Nil: silence.
	Logger *slog.Logger
}

// MaxSources is how many sources a session asks at a time.
const MaxSources = 32

const (
	defaultStall = 30 * time.Second
	// maxWaiting is how many more sources a session keeps, for when others
	// fail: many of those that are found can't be reached.
	maxWaiting = 256
)

// An Exchange gets DAGs.
type Exchange struct{ c Config }

// New returns an Exchange.
func New(c Config) *Exchange {
	if c.Stall == 0 {
		c.Stall = defaultStall
	}
	if c.Arrived == nil {
		c.Arrived = func(...cid.Cid) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Exchange{c: c}
}

// SyncPrefix begins the name of a session's alias, which keeps what came so far
// alive; the root's CID follows.
const SyncPrefix = "sync/"

// SyncName is the alias of a session for root.
func SyncName(root cid.Cid) string { return SyncPrefix + block.V1(root).String() }

// Options say how a DAG is got. The zero value is fine.
type Options struct {
	// From are sources to ask at once; they are assumed to have the DAG.
	From []Source
	// OnlyFrom asks no other sources.
	OnlyFrom bool
	// Alias is set to the root in the commit that ends the session. Empty: no
	// alias is set, and the session's own stays unless NoPin is set.
	Alias string
	// NoPin leaves the blocks as a cache, if there's no Alias.
	NoPin bool
	// Have are roots of DAGs that are here and may share much with this one, such
	// as former versions. The session ignores those that aren't whole.
	Have []cid.Cid
	// Selection leaves out a part of the DAG. It's stored with the Alias.
	Selection store.Selection
	// Follow, if not nil, gets each block with its links before it is accepted,
	// and returns the links to go on with. An error refuses the block and ends
	// the session. With Follow, nothing is streamed.
	Follow func(b block.Block, links []cid.Cid) ([]cid.Cid, error)

	single bool // set by Fetch
}

// Progress is how far a session has come.
type Progress struct {
	// Blocks and Bytes count the wanted blocks that came.
	Blocks, Bytes int64
	// Duplicates and DuplicateBytes count the blocks that came though they were
	// here.
	Duplicates, DuplicateBytes int64
	// Wanted is how many blocks are known to be missing. There may be more below
	// them.
	Wanted int
	// Rate is in bytes a second, over the last seconds.
	Rate float64
	// Left is the time left at this rate; zero if it's unknown.
	Left time.Duration
	// Sources are the sources that were asked.
	Sources []SourceProgress
	// Done: the DAG is here, and durable.
	Done bool
}

// SourceProgress is what came from one source.
type SourceProgress struct {
	Source        Source
	Name          string
	Blocks, Bytes int64
	// Err is the source's last error, or why it was dropped.
	Err error
}

// Errors of sessions.
var (
	// ErrNoSource: no source has a block that is missing. It comes with
	// block.ErrNotFound.
	ErrNoSource = errors.New("no source has it")
	// ErrMisbehaved: a source sent false blocks, or too many that it wasn't asked
	// for.
	ErrMisbehaved = errors.New("source misbehaved")
	// ErrStalled: a source sent nothing for too long.
	ErrStalled = errors.New("sent nothing for too long")
)

// progressEvery is how often Sync yields.
const progressEvery = 100 * time.Millisecond

// Sync gets the DAG below root, and keeps it as the options say. It yields its
// progress ten times a second and at the end, with Progress.Done; it yields nothing
// after an error. Ending the range ends the session. What came stays for the next
// one, under the alias SyncName(root). Errors: ErrNoSource, with the CID of a
// missing block; store.ErrDiskFull and others of the store; those of Follow.
func (x *Exchange) Sync(ctx context.Context, root cid.Cid, o Options) iter.Seq2[Progress, error] {
	return func(yield func(Progress, error) bool) {
		s, err := x.newSession(root, o)
		if err == nil {
			err = x.run(ctx, s, yield)
		}
		if err != nil && !errors.Is(err, errStopped) {
			p := Progress{}
			if s != nil {
				p = s.progress()
			}
			yield(p, fmt.Errorf("sync %s: %w", root, err))
		}
	}
}

// errStopped: the caller has ended the range.
var errStopped = errors.New("stopped")

// run runs the session, and yields its progress.
func (x *Exchange) run(ctx context.Context, s *session, yield func(Progress, error) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // also where yield panics
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()
	if x.c.Ended != nil {
		defer func() { x.c.Ended(s.root, s.progress().Sources) }()
	}
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if errors.Is(err, ErrNoSource) && ctx.Err() != nil {
				err = context.Cause(ctx) // sources would have been found later
			}
			if err != nil {
				return err
			}
			p := s.progress()
			p.Done = true
			yield(p, nil)
			return nil
		case <-tick.C:
			if !yield(s.progress(), nil) {
				cancel()
				<-ended
				return errStopped
			}
		}
	}
}

// Fetch gets one block, without the DAG below it, and leaves it in the store as a
// cache. Errors: ErrNoSource.
func (x *Exchange) Fetch(ctx context.Context, c cid.Cid, o Options) (block.Block, error) {
	b, err := x.c.Store.Get(ctx, c)
	if !errors.Is(err, block.ErrNotFound) {
		return b, err
	}
	o.Follow = func(got block.Block, _ []cid.Cid) ([]cid.Cid, error) {
		b = got
		return nil, nil
	}
	o.Alias, o.NoPin, o.Have, o.single = "", true, nil, true
	for _, err := range x.Sync(ctx, c, o) {
		if err != nil {
			return block.Block{}, err
		}
	}
	if b.CID() != c {
		// It came under another version of its CID.
		return x.c.Store.Get(ctx, c)
	}
	return b, nil
}
