package routing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/ipfs/boxo/ipns"
	record "github.com/libp2p/go-libp2p-record"
)

// saveTimeout bounds the last save of the cache, in Close.
const saveTimeout = 10 * time.Second

// A Router finds providers, peers and records, and announces CIDs; New makes one.
type Router struct {
	config    Config
	log       *slog.Logger
	cache     *cache
	tables    []*table // that of the internet before that of the local network
	delegated []*delegated
	http      *http.Client
	announcer *announcer // or nil
	validator record.NamespacedValidator

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	closing sync.Once
	failed  error          // what Close returns
	running sync.WaitGroup // Add only with mu held and closed false

	mu     sync.Mutex // guards closed
	closed bool
}

// New makes a router, which joins the DHT in the background. The context bounds
// the call to New alone.
func New(ctx context.Context, c Config) (*Router, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Router{
		config:    c,
		log:       c.Logger,
		cache:     newCache(c.State, c.Limits.Cache, c.Logger),
		http:      httpClient(c.HTTP),
		validator: record.NamespacedValidator{"pk": record.PublicKeyValidator{}, "ipns": ipns.Validator{KeyBook: c.Host.Peerstore()}},
	}
	r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := r.start(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Router) start(ctx context.Context) error {
	c := &r.config
	if err := r.cache.load(ctx, time.Now()); err != nil {
		return err
	}
	if c.Mode.hasHTTP() {
		scope := scopePublic
		if c.Local {
			scope = scopeAny
		}
		for _, u := range c.Delegated {
			r.delegated = append(r.delegated, &delegated{base: u, http: r.http, config: c, scope: scope})
		}
	}
	for _, wan := range []bool{true, false} {
		if wan && !c.Mode.hasWAN() || !wan && !c.Mode.hasLAN() {
			continue
		}
		t, err := newTable(c, wan)
		if err != nil {
			return err
		}
		r.tables = append(r.tables, t)
		if wan && c.Mode == ModeAccelerated {
			if err := t.startAccelerated(c); err != nil {
				return err
			}
		}
		if err := t.dht.Bootstrap(ctx); err != nil {
			return fmt.Errorf("routing: join the DHT %s: %w", t.source, err)
		}
	}
	if len(r.tables) > 0 {
		a, err := newAnnouncer(c, r.tables)
		if err != nil {
			return err
		}
		r.announcer = a
		r.spawn(r.refreshPeriodically)
	}
	r.spawn(r.savePeriodically)
	return nil
}

// Ready reports whether the accelerated table answers.
func (r *Router) Ready() bool {
	return len(r.tables) > 0 && r.tables[0].ready()
}

// A Status describes a router at one moment.
type Status struct {
	Mode Mode
	// Peers counts the peers in the DHT's routing table, LocalPeers those in the
	// local network's, AllPeers those in the accelerated table.
	Peers, LocalPeers, AllPeers int
	// Server reports whether the node is a server of the DHT.
	Server bool
	// Ready is the result of Router.Ready.
	Ready bool
	// Cached counts the CIDs whose providers are in the cache.
	Cached int
}

// Status returns the router's status.
func (r *Router) Status() Status {
	s := Status{Mode: r.config.Mode, Ready: r.Ready()}
	for _, t := range r.tables {
		if t.source == "lan" {
			s.LocalPeers = t.dht.RoutingTable().Size()
			continue
		}
		s.Peers = t.dht.RoutingTable().Size()
		if t.accelerated != nil {
			s.AllPeers = len(t.accelerated.Stat())
		}
		for _, p := range r.config.Host.Mux().Protocols() {
			s.Server = s.Server || p == r.config.protocol(true)
		}
	}
	s.Cached = r.cache.count()
	return s
}

// savePeriodically saves the cache until the router closes.
func (r *Router) savePeriodically() {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-ticker.C:
			if err := r.cache.save(r.ctx); err != nil && r.ctx.Err() == nil {
				r.log.Warn("routing: cannot save the provider cache", "err", err)
			}
		}
	}
}

// spawn runs f on a goroutine that Close waits for. It returns false if the
// router is closed.
func (r *Router) spawn(f func()) bool {
	if !r.hold() {
		return false
	}
	go func() {
		defer r.running.Done()
		f()
	}()
	return true
}

// hold makes Close wait until running.Done is called. It returns false if the
// router is closed.
func (r *Router) hold() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.running.Add(1)
	return true
}

// Close ends all lookups, waits for every goroutine, and saves the cache.
// Further calls return the first call's result.
func (r *Router) Close() error {
	r.closing.Do(func() {
		r.mu.Lock()
		r.closed = true
		r.mu.Unlock()
		r.cancel()
		r.running.Wait()
		var errs []error
		if r.announcer != nil {
			errs = append(errs, r.announcer.close())
		}
		for _, t := range r.tables {
			errs = append(errs, t.close())
		}
		if r.config.HTTP == nil {
			r.http.CloseIdleConnections()
		}
		ctx, cancel := context.WithTimeout(context.Background(), saveTimeout)
		defer cancel()
		errs = append(errs, r.cache.save(ctx))
		if err := errors.Join(errs...); err != nil {
			r.failed = fmt.Errorf("routing: close: %w", err)
		}
	})
	return r.failed
}
