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
	// Store takes in what comes. It's required.
	Store *store.Store
	// Sources yields sources that may have the DAG below root, as it finds them,
	// until there are no more or ctx ends. Single says that the session wants
	// the block root alone. Nil: sessions ask Options.From and Fallback.
	Sources func(ctx context.Context, root cid.Cid, single bool) iter.Seq[Source]
	// Fallback are sources that join a session when it has gone on for
	// FallbackDelay, such as gateways. Zero: from the beginning.
	Fallback      []Source
	FallbackDelay time.Duration
	// Stall is after which time a source that sends nothing, though it was
	// asked, is given up; one that is a Hearer and sends a block bit by bit has
	// three minutes more. Zero: 30 s.
	Stall time.Duration
	// Arrived is told of each block that came, and can be read by now, so that
	// those who wait for it can be answered. It must return at once. Nil:
	// nobody is told.
	Arrived func(cids ...cid.Cid)
	// Ended is told of each session that has ended, and what came from whom. It
	// must return at once. Nil: nobody is told.
	Ended func(root cid.Cid, sources []SourceProgress)
	// Logger is told of sources that fail. Nil: nobody is.
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

// SyncPrefix begins the names of the aliases under which sessions keep what
// they have got so far; the root's CID follows.
const SyncPrefix = "sync/"

// SyncName is the alias of a session for root.
func SyncName(root cid.Cid) string { return SyncPrefix + block.V1(root).String() }

// Options say how a DAG is got. The zero value is fine.
type Options struct {
	// From are asked at once, and taken to have it.
	From []Source
	// OnlyFrom asks nobody else.
	OnlyFrom bool
	// Alias is set to the root when all is here, in the commit that ends the
	// session. Empty: none is, and the session's own alias stays, unless NoPin
	// is set.
	Alias string
	// NoPin leaves what comes as a cache, if there's no Alias.
	NoPin bool
	// Have are roots of DAGs that are here and may have much in common with
	// the one that's got: a former version. Those that aren't whole are left
	// out by the session itself.
	Have []cid.Cid
	// Selection leaves out a part of the DAG. It's kept with the Alias.
	Selection store.Selection
	// Follow, if not nil, is given each block, before it's accepted, with its
	// links, and returns those to go on with. An error ends the session with
	// that error. The DAG is asked for block by block then.
	Follow func(b block.Block, links []cid.Cid) ([]cid.Cid, error)

	single bool // set by Fetch
}

// Progress is how far a session has come.
type Progress struct {
	// Blocks and Bytes are those that came and were wanted.
	Blocks, Bytes int64
	// Duplicates and DuplicateBytes are those that came though they were here.
	Duplicates, DuplicateBytes int64
	// Wanted is how many blocks are known to be missing; below those that have
	// links there may be more.
	Wanted int
	// Rate is in bytes a second, over the last seconds.
	Rate float64
	// Left is how long it takes still at this rate; zero if that's unknown.
	Left time.Duration
	// Sources are those that were asked.
	Sources []SourceProgress
	// Done: all is here, and durable.
	Done bool
}

// SourceProgress is what came from one source.
type SourceProgress struct {
	Source        Source
	Name          string
	Blocks, Bytes int64
	// Err is why it isn't asked any more; nil while it is.
	Err error
}

// Errors of sessions.
var (
	// ErrNoSource: there's nobody who has what is missing. It's a
	// block.ErrNotFound, too.
	ErrNoSource = errors.New("nobody who was asked has it")
	// ErrLied: a source sent what it wasn't asked for, more than by accident.
	ErrLied = errors.New("sent blocks that nobody asked for")
	// ErrStalled: a source sent nothing for too long.
	ErrStalled = errors.New("sent nothing for too long")
)

// progressEvery is how often Sync tells of progress.
const progressEvery = 100 * time.Millisecond

// Sync gets the DAG below root, and keeps it as the options say. It yields how
// far it has come, from time to time and at the end, where Progress.Done is set;
// an error is the last that it yields. Who stops ranging stops the session; what
// came stays, under the alias SyncName(root), for the next one. Errors:
// ErrNoSource, with the CID of a block that's missing; store.ErrDiskFull and
// others of the store; those of Follow.
func (x *Exchange) Sync(ctx context.Context, root cid.Cid, o Options) iter.Seq2[Progress, error] {
	return func(yield func(Progress, error) bool) {
		s, err := x.newSession(root, o)
		if err == nil {
			err = x.watch(ctx, s, yield)
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

// errStopped says that who asked doesn't want to know more.
var errStopped = errors.New("stopped")

// watch runs the session, and tells how it goes.
func (x *Exchange) watch(ctx context.Context, s *session, yield func(Progress, error) bool) error {
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
				err = context.Cause(ctx) // nobody was found for want of time
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

// Fetch gets one block, without what is below it, and leaves it in the store as
// a cache. Errors: ErrNoSource.
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
		// It was asked for, and came, by another version of its CID.
		return x.c.Store.Get(ctx, c)
	}
	return b, nil
}
