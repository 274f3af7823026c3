package names

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/ipfs/boxo/path"
	"github.com/libp2p/go-libp2p/core/crypto"
)

// A Publication is what to publish under a name.
type Publication struct {
	// Value is the path that the name leads to: /ipfs/… or /ipns/….
	Value string
	// Lifetime is how long the record is valid. 0: DefaultLifetime.
	Lifetime time.Duration
	// TTL is how long it may be cached. 0: DefaultTTL.
	TTL time.Duration
	// Sequence is the record's sequence, above all that a lookup finds and that
	// are stored. 0: one above the highest.
	Sequence uint64
	// Metadata holds further signed fields, as in Fields.
	Metadata map[string]any
	// Offline skips the lookup and the sending: the record is signed above the
	// stored sequence, and sent by Run.
	Offline bool
}

// Publish signs a record of a key's name and sends it. It first waits for a
// lookup to end, and signs above the highest sequence that was found, even in an
// expired record, or is stored. If that is impossible, it fails with
// ErrRollback. The record is durable here before it is sent, and is renewed from
// then on, until Withdraw. With ErrNotSent it also returns the record: no store
// or peer took it, and Run sends it again.
func (n *Names) Publish(ctx context.Context, key crypto.PrivKey, p Publication) (*Record, error) {
	name, err := NameOf(key.GetPublic())
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*Record, error) {
		return nil, fmt.Errorf("names: publish %s: %w", name, err)
	}
	if p.Lifetime == 0 {
		p.Lifetime = DefaultLifetime
	}
	if p.TTL == 0 {
		p.TTL = DefaultTTL
	}
	if p.Lifetime < 0 || p.Lifetime > maxLifetime {
		return fail(fmt.Errorf("lifetime %v: %w: want a positive one, %v at most", p.Lifetime, ErrInvalid, time.Duration(maxLifetime)))
	}
	value, err := path.NewPath(p.Value)
	if err != nil {
		return fail(fmt.Errorf("value %.100q: %w: %w", p.Value, ErrInvalid, err))
	}
	if to, err := ParseName(nameInPath(value.String())); err == nil && to == name {
		return fail(fmt.Errorf("%w: its value would be itself", ErrTooDeep))
	}

	unlock, err := n.lockName(ctx, name)
	if err != nil {
		return fail(err)
	}
	defer unlock()
	var floor uint64
	inUse := false
	if !p.Offline {
		if floor, inUse, err = n.findHighest(ctx, name); err != nil {
			return fail(err)
		}
	}
	var record *Record
	err = n.cache.update(ctx, name, true, func(r row, _ *Record) (row, *Record, error) {
		if r.seen {
			floor, inUse = max(floor, r.highest), true
		}
		sequence := p.Sequence
		switch {
		case sequence != 0 && inUse && sequence <= floor:
			return r, nil, fmt.Errorf("%w: sequence %d is not above %d, which is in use", ErrRollback, sequence, floor)
		case sequence == 0 && inUse && floor >= MaxSequence:
			return r, nil, fmt.Errorf("%w: there is no sequence above %d", ErrRollback, floor)
		case sequence == 0 && inUse:
			sequence = floor + 1
		}
		now := time.Now()
		record, err = NewRecord(key, Fields{
			Value: value.String(), Sequence: sequence, Validity: now.Add(p.Lifetime), TTL: p.TTL, Metadata: p.Metadata,
		})
		if err != nil {
			return r, nil, err
		}
		r.own, r.seen, r.highest, r.raw, r.from = true, true, record.sequence, record.raw, FromHere
		r.confirmed, r.sent, r.lifetime = now, time.Time{}, p.Lifetime
		return r, record, nil
	})
	if err != nil {
		return fail(err)
	}
	if err := n.updateSubscription(name); err != nil {
		n.log.Warn("names: subscribing failed: new records are not pushed to followers", "name", name, "err", err)
	}
	if p.Offline {
		return record, nil
	}
	return record, n.send(ctx, record)
}

// Put accepts a signed record, and sends it unchanged. Errors: ErrInvalid,
// ErrExpired, ErrRollback; with ErrNotSent the record is stored here, but no
// store or peer took it.
func (n *Names) Put(ctx context.Context, name Name, raw []byte) (*Record, error) {
	record, _, err := n.accept(ctx, name, raw, FromUser, false)
	if err != nil {
		return nil, err
	}
	return record, n.send(ctx, record)
}

// lockName locks the signing of records of a name.
func (n *Names) lockName(ctx context.Context, name Name) (unlock func(), err error) {
	lock := n.publishing[maphash.String(n.cache.seed, name.hash)%writers]
	select {
	case lock <- struct{}{}:
		return func() { <-lock }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-n.ctx.Done():
		return nil, ErrClosed
	}
}

// findHighest waits for a lookup to end, and returns the highest sequence found,
// refused records included; found is false if there was none.
func (n *Names) findHighest(ctx context.Context, name Name) (sequence uint64, found bool, err error) {
	l, err := n.awaitLookup(ctx, name)
	if err != nil {
		return 0, false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.highest, l.found, nil
}

// broadcastWait is how long send waits, after a store took the record, for the
// bootstrap and the broadcast on the topic. Without it a process that exits then
// would never broadcast; most bootstraps have ended by now.
const broadcastWait = time.Second

// send puts a record into all stores and broadcasts it on its topic. Only the
// broadcast waits for the bootstrap, so it may come later.
func (n *Names) send(ctx context.Context, record *Record) error {
	err := n.startNetwork(ctx)
	if err == nil {
		broadcasted := make(chan struct{})
		if !n.spawn(func() {
			defer close(broadcasted)
			_ = n.awaitBootstrap(n.ctx) // peers may have connected all the same
			n.broadcast(n.ctx, record)
		}) {
			close(broadcasted)
		}
		if len(n.net.Load().Stores) == 0 {
			select {
			case <-broadcasted:
			case <-ctx.Done():
			}
		}
		err = n.putToStores(ctx, record)
		timer := time.NewTimer(broadcastWait)
		defer timer.Stop()
		select {
		case <-broadcasted:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	if err != nil {
		return fmt.Errorf("names: send the record of %s: %w: %w", record.name, ErrNotSent, err)
	}
	err = n.cache.update(ctx, record.name, true, func(r row, held *Record) (row, *Record, error) {
		if !r.kept() || string(r.raw) != string(record.raw) {
			return r, held, errUnchanged
		}
		r.sent = time.Now()
		return r, held, nil
	})
	if err != nil && err != errUnchanged {
		return err
	}
	return nil
}

// errNoReceiver: there is no store, and no peer on the topic.
var errNoReceiver = errors.New("there is no store, and no peer on the topic")

// putToStores puts a record into all stores at once. It fails if none takes it;
// without stores, if there is no peer on the topic.
func (n *Names) putToStores(ctx context.Context, record *Record) error {
	stores := n.net.Load().Stores
	if len(stores) == 0 {
		if s := n.subscription(record.name); s == nil || len(s.topic.Peers()) == 0 {
			return errNoReceiver
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, n.c.SendTime)
	defer cancel()
	// putToStores doesn't wait for a store that ignores its context; Close does.
	results := make(chan error, len(stores))
	for _, store := range stores {
		if !n.spawn(func() {
			ctx, cancel := context.WithTimeout(n.ctx, n.c.SendTime)
			defer cancel()
			results <- store.PutValue(ctx, record.name.RoutingKey(), record.raw)
		}) {
			results <- ErrClosed
		}
	}
	took := false
	var errs []error
	for range stores {
		select {
		case err := <-results:
			took = took || err == nil
			errs = append(errs, err)
		case <-ctx.Done():
			errs = append(errs, ctx.Err())
		}
	}
	err := errors.Join(errs...)
	if !took {
		return err
	}
	if err != nil {
		n.log.Warn("names: some stores failed to take a record", "name", record.name, "err", err)
	}
	return nil
}
