package names

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

const (
	// dueEvery is the interval at which Run lists the due names.
	dueEvery = time.Minute

	// retryAfter is the pause after a failure before Run tries a name again;
	// retrySoon if its record was never sent.
	retryAfter = 10 * time.Minute
	retrySoon  = dueEvery / 2
)

// A dueName is a name whose record is to be sent again.
type dueName struct {
	name Name
	// renew: the record is own and is to be signed again, with the same
	// sequence and a later end. Else it is sent unchanged.
	renew bool
}

// listDue yields the names due at that time: own ones whose record has less than
// half of its lifetime left, and kept ones whose record was last sent
// Config.Rebroadcast ago or earlier.
func (n *Names) listDue(now time.Time) iter.Seq[dueName] {
	return func(yield func(dueName) bool) {
		for _, name := range n.cache.keptNames() {
			r, record := n.cache.get(name)
			if record == nil {
				continue
			}
			renew := r.own && n.c.Key != nil && record.validity.Sub(now) < r.lifetime/2
			again := now.Sub(r.sent) >= n.c.Rebroadcast && record.Valid(now) == nil
			if (renew || again) && !yield(dueName{name, renew}) {
				return
			}
		}
	}
}

// republish renews the record of a due name, or sends it unchanged. A renewal
// looks the name up first, to find what another node published with the key. If
// it fails, the key being gone for example, the record is sent unchanged until
// it expires.
func (n *Names) republish(ctx context.Context, d dueName) error {
	var failed error
	if d.renew {
		renewed, err := n.renew(ctx, d.name)
		if renewed != nil {
			return n.send(ctx, renewed)
		}
		if err != nil {
			failed = fmt.Errorf("names: renew %s: %w", d.name, err)
		}
	}
	r, record := n.cache.get(d.name)
	if record == nil {
		return fmt.Errorf("names: republish %s: %w", d.name, ErrNotFound)
	}
	if failed != nil && time.Since(r.sent) < n.c.Rebroadcast {
		return failed
	}
	if err := record.Valid(time.Now()); err != nil {
		return errors.Join(failed, err)
	}
	return errors.Join(failed, n.send(ctx, record))
}

// renew signs the best record of an own name again. It returns nil if the name
// is no longer due.
func (n *Names) renew(ctx context.Context, name Name) (*Record, error) {
	unlock, err := n.lockName(ctx, name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	key, err := n.c.Key(name)
	if err != nil {
		return nil, err
	}
	floor, inUse, err := n.findHighest(ctx, name)
	if err != nil {
		return nil, err
	}
	var renewed *Record
	err = n.cache.update(ctx, name, true, func(r row, held *Record) (row, *Record, error) {
		now := time.Now()
		if !r.own || held == nil || held.validity.Sub(now) >= r.lifetime/2 {
			return r, held, errUnchanged
		}
		if inUse && floor > held.sequence {
			// The higher record was refused, so it has expired.
			return r, held, fmt.Errorf("%w: sequence %d is in use, and ours is %d; publish the name again", ErrRollback, floor, held.sequence)
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
		r.raw, r.confirmed, r.sent, r.from = renewed.raw, now, time.Time{}, FromHere
		return r, renewed, nil
	})
	if err == errUnchanged {
		err = nil
	}
	return renewed, err
}

// Run republishes names when they are due. It returns nil when the context ends
// or Names is closed.
func (n *Names) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.ctx, cancel)()
	tick := time.NewTicker(dueEvery)
	defer tick.Stop()
	for {
		for d := range n.listDue(time.Now()) {
			if ctx.Err() != nil {
				return nil
			}
			pause := retryAfter
			if r, _ := n.cache.get(d.name); r.sent.IsZero() {
				pause = retrySoon
			}
			if !n.cache.startAttempt(d.name, attemptSend, pause) {
				continue
			}
			err := n.republish(ctx, d)
			if err != nil && !errors.Is(err, context.Canceled) {
				n.log.Info("names: republishing failed", "name", d.name, "err", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
