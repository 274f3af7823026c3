package routing

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
)

// A task is one source's part in a lookup. It emits results until emit returns
// false or the context ends, and returns an error if the source failed. Finding
// nothing is no failure.
type task[T any] struct {
	source string
	run    func(ctx context.Context, emit func(T) bool) error
}

// race runs all tasks at once and yields their results as they come, after the
// known ones. If every task failed and nothing was yielded, it yields an error
// that says why. A task that is late has failed.
func race[T any](ctx context.Context, r *Router, what string, known []T, tasks []task[T]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		ctx, cancel := context.WithTimeout(ctx, r.config.Limits.Lookup)
		defer cancel()
		defer context.AfterFunc(r.ctx, cancel)()

		found := make(chan T)
		type end struct {
			source string
			err    error
		}
		ends := make(chan end, len(tasks))
		for _, task := range tasks {
			started := r.spawn(func() {
				err := task.run(ctx, func(v T) bool {
					select {
					case found <- v:
						return true
					case <-ctx.Done():
						return false
					}
				})
				ends <- end{task.source, err}
			})
			if !started {
				yield(zero, fmt.Errorf("routing: %s: %w", what, ErrClosed))
				return
			}
		}
		answered := false
		for _, v := range known {
			answered = true
			if !yield(v, nil) {
				return
			}
		}
		var errs []error
		left := len(tasks)
	loop:
		for left > 0 {
			select {
			case v := <-found:
				answered = true
				if !yield(v, nil) {
					return
				}
			case e := <-ends:
				left--
				if e.err == nil {
					answered = true
				} else {
					errs = append(errs, fmt.Errorf("%s: %w", e.source, e.err))
				}
			case <-ctx.Done():
				break loop
			}
		}
		if answered || len(tasks) == 0 {
			return
		}
		if r.ctx.Err() != nil {
			errs = append(errs, ErrClosed)
		} else if err := ctx.Err(); err != nil && !errors.Is(failures(errs), err) {
			errs = append(errs, err)
		}
		yield(zero, fmt.Errorf("routing: %s: %w", what, failures(errs)))
	}
}

// failures are the errors of the sources, on one line.
type failures []error

func (f failures) Error() string {
	all := make([]string, len(f))
	for i, err := range f {
		all[i] = err.Error()
	}
	return strings.Join(all, "; ")
}

func (f failures) Unwrap() []error { return f }
