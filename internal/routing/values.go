package routing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
)

// A Value is a record from a source.
type Value struct {
	Data   []byte
	Source string
}

// SearchValue asks all sources for the record under a key, which is /ipns/ or
// /pk/ and the bytes of a peer id. It yields valid records, each as soon as it
// arrives if it is better than the one before. It ends as FindProviders does.
func (r *Router) SearchValue(ctx context.Context, key string) iter.Seq2[Value, error] {
	return func(yield func(Value, error) bool) {
		var tasks []task[Value]
		for _, t := range r.tables {
			tasks = append(tasks, task[Value]{t.source, func(ctx context.Context, emit func(Value) bool) error {
				return t.searchValue(ctx, key, emit)
			}})
		}
		if id, ok := isIPNS(key); ok {
			for _, d := range r.delegated {
				tasks = append(tasks, task[Value]{d.name(), func(ctx context.Context, emit func(Value) bool) error {
					data, err := d.getRecord(ctx, id)
					if len(data) > 0 {
						emit(Value{data, d.name()})
					}
					return err
				}})
			}
		}
		if len(tasks) == 0 {
			yield(Value{}, fmt.Errorf("routing: find a record: %w", ErrNoSource))
			return
		}
		var best []byte
		for v, err := range race(ctx, r, "find a record", nil, tasks) {
			if err != nil {
				yield(Value{}, err)
				return
			}
			if !r.isBetter(key, best, v.Data) {
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

// isBetter reports whether data are a valid record, and better than the best.
func (r *Router) isBetter(key string, best, data []byte) bool {
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

// GetValue waits until all sources have answered, and returns the best record.
// ErrNotFound means that there is no valid one.
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

// PutValue publishes a record in each DHT, or, in ModeDelegated, through the
// delegated routers. It returns when all are done. It fails if the record is
// invalid, or if every source failed.
func (r *Router) PutValue(ctx context.Context, key string, value []byte) error {
	if err := r.validator.Validate(key, value); err != nil {
		return fmt.Errorf("routing: publish a record: %w", err)
	}
	var tasks []task[struct{}]
	for _, t := range r.tables {
		tasks = append(tasks, task[struct{}]{t.source, func(ctx context.Context, _ func(struct{}) bool) error {
			return t.putValue(ctx, key, value)
		}})
	}
	if id, ok := isIPNS(key); ok && len(r.tables) == 0 {
		for _, d := range r.delegated {
			tasks = append(tasks, task[struct{}]{d.name(), func(ctx context.Context, _ func(struct{}) bool) error {
				return d.putRecord(ctx, id, value)
			}})
		}
	}
	return r.runAll(ctx, "publish a record", tasks)
}

// runAll runs all tasks, and fails if every one of them failed.
func (r *Router) runAll(ctx context.Context, what string, tasks []task[struct{}]) error {
	if len(tasks) == 0 {
		return fmt.Errorf("routing: %s: %w", what, ErrNoSource)
	}
	var errs []error
	for _, err := range race(ctx, r, what, nil, tasks) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
