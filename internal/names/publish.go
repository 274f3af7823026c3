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

// A Publication is what a name is to say.
type Publication struct {
	// Value is the path that the name is to lead to: /ipfs/… or /ipns/….
	Value string
	// Lifetime is how long the record is valid. 0: DefaultLifetime.
	Lifetime time.Duration
	// TTL is how long it may be cached. 0: DefaultTTL.
	TTL time.Duration
	// Sequence is the record's sequence, which must be above all that were
	// found or are remembered. 0: one above the highest.
	Sequence uint64
	// Metadata are further signed fields, as in Fields.
	Metadata map[string]any
	// Offline leaves out the look-up and the sending: the record is signed
	// above what is remembered, and sent with the next republishing.
	Offline bool
}

// Publish signs a record of a key's name and sends it. It first waits for a
// look-up to end, and signs above the highest sequence that was found, be it
// of an expired record, or is remembered; if that can't be, it fails with
// ErrRollback. The record is durable here before anybody else gets it, and is
// renewed from then on, until Withdraw. With ErrNotSent the record is returned,
// too: nobody took it, and Run tries again.
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
		return fail(fmt.Errorf("%w: a lifetime of %v", ErrInvalid, p.Lifetime))
	}
	value, err := path.NewPath(p.Value)
	if err != nil {
		return fail(fmt.Errorf("value %.100q: %w: %w", p.Value, ErrInvalid, err))
	}
	if to, err := ParseName(firstName(value.String())); err == nil && to == name {
		return fail(fmt.Errorf("%w: its value would be itself", ErrTooDeep))
	}

	done, err := n.turn(ctx, name)
	if err != nil {
		return fail(err)
	}
	defer done()
	var floor uint64
	some := false
	if !p.Offline {
		if floor, some, err = n.highest(ctx, name); err != nil {
			return fail(err)
		}
	}
	var record *Record
	err = n.table.update(ctx, name, true, func(r row, _ *Record) (row, *Record, error) {
		if r.seen {
			floor, some = max(floor, r.highest), true
		}
		sequence := p.Sequence
		switch {
		case sequence != 0 && some && sequence <= floor:
			return r, nil, fmt.Errorf("%w: the sequence is to be %d, and %d is in use", ErrRollback, sequence, floor)
		case sequence == 0 && some && floor >= MaxSequence:
			return r, nil, fmt.Errorf("%w: there is no sequence above %d", ErrRollback, floor)
		case sequence == 0 && some:
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
		r.heard, r.sent, r.lifetime = now, time.Time{}, p.Lifetime
		return r, record, nil
	})
	if err != nil {
		return fail(err)
	}
	if err := n.attend(name); err != nil {
		n.log.Warn("names: nobody hears of new records", "name", name, "err", err)
	}
	if p.Offline {
		return record, nil
	}
	return record, n.send(ctx, record)
}

// Put takes a record in that somebody else signed, and sends it as it is.
// Errors: ErrInvalid, ErrExpired, ErrRollback; with ErrNotSent the record is
// here, and nobody took it.
func (n *Names) Put(ctx context.Context, name Name, raw []byte) (*Record, error) {
	record, _, err := n.accept(ctx, name, raw, FromUser, false)
	if err != nil {
		return nil, err
	}
	return record, n.send(ctx, record)
}

// turn waits until nobody else signs for the name.
func (n *Names) turn(ctx context.Context, name Name) (done func(), err error) {
	place := n.publishing[maphash.String(n.table.seed, name.hash)%writers]
	select {
	case place <- struct{}{}:
		return func() { <-place }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-n.ctx.Done():
		return nil, ErrClosed
	}
}

// highest looks the name up to the end, and returns the highest sequence of
// what was found, even if it was refused.
func (n *Names) highest(ctx context.Context, name Name) (sequence uint64, some bool, err error) {
	l, err := n.finish(ctx, name)
	if err != nil {
		return 0, false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.highest, l.any, nil
}

// spreadTime is how long a record that a store took waits to be published on its
// topic, while the network is being entered: a process that ends then would not
// do it at all, and most networks are entered by now.
const spreadTime = time.Second

// send puts a record into all stores and on its topic. Stores don't wait for
// peers, so the topic may get it later.
func (n *Names) send(ctx context.Context, record *Record) error {
	err := n.online(ctx)
	if err == nil {
		spread := make(chan struct{})
		if !n.spawn(func() {
			defer close(spread)
			_ = n.entered(n.ctx) // there may be peers all the same
			n.spread(n.ctx, record)
		}) {
			close(spread)
		}
		if len(n.net.Load().Stores) == 0 {
			select {
			case <-spread:
			case <-ctx.Done():
			}
		}
		err = n.store(ctx, record)
		enough := time.NewTimer(spreadTime)
		defer enough.Stop()
		select {
		case <-spread:
		case <-enough.C:
		case <-ctx.Done():
		}
	}
	if err != nil {
		return fmt.Errorf("names: send the record of %s: %w: %w", record.name, ErrNotSent, err)
	}
	err = n.table.update(ctx, record.name, true, func(r row, held *Record) (row, *Record, error) {
		if !r.kept() || string(r.raw) != string(record.raw) {
			return r, held, errSame
		}
		r.sent = time.Now()
		return r, held, nil
	})
	if err != nil && err != errSame {
		return err
	}
	return nil
}

// errNobody: there is neither a store nor a peer to send a record to.
var errNobody = errors.New("there is nobody to send it to")

// store puts a record into all stores at once; it fails if none takes it. Where
// there are none, the peers of the topic have to do.
func (n *Names) store(ctx context.Context, record *Record) error {
	stores := n.net.Load().Stores
	if len(stores) == 0 {
		if f := n.feed(record.name); f == nil || len(f.topic.Peers()) == 0 {
			return errNobody
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, n.c.SendTime)
	defer cancel()
	// A store that doesn't end with the context is left behind; Close waits
	// for it.
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
		n.log.Warn("names: not all stores took a record", "name", record.name, "err", err)
	}
	return nil
}
