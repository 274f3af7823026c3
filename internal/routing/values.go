package routing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
)

// A Value is a record as a source has it.
type Value struct {
	Data   []byte
	Source string
}

// SearchValue asks all sources for the record under a key, /ipns/ or /pk/ and
// the bytes of a peer id, and yields valid ones, each better than the one
// before: the first as soon as there is one, the last when all have answered.
// It ends as FindProviders does.
func (r *Router) SearchValue(ctx context.Context, key string) iter.Seq2[Value, error] {
	return func(yield func(Value, error) bool) {
		var runs []run[Value]
		for _, t := range r.tables {
			runs = append(runs, run[Value]{t.source, func(ctx context.Context, emit func(Value) bool) error {
				return t.values(ctx, key, emit)
			}})
		}
		if id, ok := isIPNS(key); ok {
			for _, d := range r.delegated {
				runs = append(runs, run[Value]{d.name(), func(ctx context.Context, emit func(Value) bool) error {
					data, err := d.record(ctx, id)
					if len(data) > 0 {
						emit(Value{data, d.name()})
					}
					return err
				}})
			}
		}
		if len(runs) == 0 {
			yield(Value{}, fmt.Errorf("routing: find a record: %w", ErrNoSource))
			return
		}
		var best []byte
		for v, err := range race(ctx, r, "find a record", nil, runs) {
			if err != nil {
				yield(Value{}, err)
				return
			}
			if !r.better(key, best, v.Data) {
				continue
			}
			best = v.Data
			v.Data = bytes.Clone(v.Data)
			if !yield(v, nil) {
				return
			}
		}
	}
}

// better tells whether data are a valid record, and better than the best.
func (r *Router) better(key string, best, data []byte) bool {
	if r.validator.Validate(key, data) != nil {
		return false
	}
	if best == nil {
		return true
	}
	if bytes.Equal(best, data) {
		return false
	}
	i, err := r.validator.Select(key, [][]byte{best, data})
	return err == nil && i == 1
}

// GetValue finishes the search and returns the best record. ErrNotFound: there
// is none that is valid.
func (r *Router) GetValue(ctx context.Context, key string) ([]byte, error) {
	var best []byte
	for v, err := range r.SearchValue(ctx, key) {
		if err != nil {
			return nil, err
		}
		best = v.Data
	}
	if best == nil {
		err := ctx.Err()
		if err == nil {
			err = ErrNotFound
		}
		return nil, fmt.Errorf("routing: find a record: %w", err)
	}
	return best, nil
}

// PutValue publishes a record in each DHT, and in ModeDelegated at the
// delegated routers. It returns when all are done, and an error if none took
// it, or if it is not valid.
func (r *Router) PutValue(ctx context.Context, key string, value []byte) error {
	if err := r.validator.Validate(key, value); err != nil {
		return fmt.Errorf("routing: publish a record: %w", err)
	}
	var runs []run[struct{}]
	for _, t := range r.tables {
		runs = append(runs, run[struct{}]{t.source, func(ctx context.Context, _ func(struct{}) bool) error {
			return t.put(ctx, key, value)
		}})
	}
	if id, ok := isIPNS(key); ok && len(r.tables) == 0 {
		for _, d := range r.delegated {
			runs = append(runs, run[struct{}]{d.name(), func(ctx context.Context, _ func(struct{}) bool) error {
				return d.putRecord(ctx, id, value)
			}})
		}
	}
	return r.all(ctx, "publish a record", runs)
}

// all runs all, and returns an error if each of them failed.
func (r *Router) all(ctx context.Context, what string, runs []run[struct{}]) error {
	if len(runs) == 0 {
		return fmt.Errorf("routing: %s: %w", what, ErrNoSource)
	}
	var errs []error
	for _, err := range race(ctx, r, what, nil, runs) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
