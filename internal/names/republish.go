package names

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

const (
	// dueEvery is how often Run looks for what is due.
	dueEvery = time.Minute

	// retryAfter is how long after a failure Run tries a name again, and
	// retrySoon if nobody has its record yet.
	retryAfter = 10 * time.Minute
	retrySoon  = dueEvery / 2
)

// A Due is a name whose record is to be sent again.
type Due struct {
	Name Name
	// Renew: the record is ours and is to be signed anew, with the same
	// sequence and a later end. Else it is sent as it is.
	Renew bool
}

// Due lists what is to be sent at that time: our own records when half of
// their life is over; these, and those of followed names, when they were last
// sent as long ago as Config.Rebroadcast says.
func (n *Names) Due(now time.Time) iter.Seq[Due] {
	return func(yield func(Due) bool) {
		for _, name := range n.table.names() {
			r, record := n.table.get(name)
			if record == nil {
				continue
			}
			renew := r.own && n.c.Key != nil && record.validity.Sub(now) < r.lifetime/2
			again := now.Sub(r.sent) >= n.c.Rebroadcast && record.Valid(now) == nil
			if (renew || again) && !yield(Due{Name: name, Renew: renew}) {
				return
			}
		}
	}
}

// Republish does what is due. Before a record is renewed the name is looked up,
// so that what another node published with the key isn't missed. One that can't
// be renewed, since its key is gone, say, is sent as it is until it expires.
func (n *Names) Republish(ctx context.Context, d Due) error {
	var failed error
	if d.Renew {
		renewed, err := n.renew(ctx, d.Name)
		if renewed != nil {
			return n.send(ctx, renewed)
		}
		if err != nil {
			failed = fmt.Errorf("names: renew %s: %w", d.Name, err)
		}
	}
	r, record := n.table.get(d.Name)
	if record == nil {
		return fmt.Errorf("names: republish %s: %w", d.Name, ErrNotFound)
	}
	if failed != nil && time.Since(r.sent) < n.c.Rebroadcast {
		return failed
	}
	if err := record.Valid(time.Now()); err != nil {
		return errors.Join(failed, err)
	}
	return errors.Join(failed, n.send(ctx, record))
}

// renew signs the best record of an own name anew. It returns nil if that is
// no longer to be done.
func (n *Names) renew(ctx context.Context, name Name) (*Record, error) {
	done, err := n.turn(ctx, name)
	if err != nil {
		return nil, err
	}
	defer done()
	key, err := n.c.Key(name)
	if err != nil {
		return nil, err
	}
	floor, some, err := n.highest(ctx, name)
	if err != nil {
		return nil, err
	}
	var renewed *Record
	err = n.table.update(ctx, name, true, func(r row, held *Record) (row, *Record, error) {
		now := time.Now()
		if !r.own || held == nil || held.validity.Sub(now) >= r.lifetime/2 {
			return r, held, errSame
		}
		if some && floor > held.sequence {
			// It was refused, so it has expired: what it said is over.
			return r, held, fmt.Errorf("%w: the sequence %d is in use, and ours is %d; publish it again", ErrRollback, floor, held.sequence)
		}
		f := Fields{Sequence: held.sequence, Validity: now.Add(r.lifetime), TTL: held.ttl, Metadata: make(map[string]any)}
		if f.Value, err = held.Value(); err != nil {
			return r, held, err
		}
		for k, v := range held.Metadata() {
			f.Metadata[k] = v
		}
		if renewed, err = NewRecord(key, f); err != nil {
			return r, held, err
		}
		r.raw, r.heard, r.sent, r.from = renewed.raw, now, time.Time{}, FromHere
		return r, renewed, nil
	})
	if err == errSame {
		err = nil
	}
	return renewed, err
}

// Run does what is due until the context ends, or Names is closed, and returns
// nil then.
func (n *Names) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.ctx, cancel)()
	tick := time.NewTicker(dueEvery)
	defer tick.Stop()
	for {
		for d := range n.Due(time.Now()) {
			if ctx.Err() != nil {
				return nil
			}
			pause := retryAfter
			if r, _ := n.table.get(d.Name); r.sent.IsZero() {
				pause = retrySoon
			}
			if !n.table.try(d.Name, toSend, pause) {
				continue
			}
			err := n.Republish(ctx, d)
			if err != nil && !errors.Is(err, context.Canceled) {
				n.log.Info("names: a record can't be republished", "name", d.Name, "err", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
