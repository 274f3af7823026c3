package routing

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
)

// A run is one source's part in a look-up. It emits what it finds until emit
// says false or the context ends, and says whether the source failed; a source
// that answers "nothing" did not.
type run[T any] struct {
	source string
	do     func(ctx context.Context, emit func(T) bool) error
}

// race runs all at once and yields what they emit, as it comes. What is known
// already comes first. If every run failed, and nothing was yielded, the error
// says why; if some were not done in time, they failed.
func race[T any](ctx context.Context, r *Router, what string, known []T, runs []run[T]) iter.Seq2[T, error] {
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
		ends := make(chan end, len(runs))
		for _, run := range runs {
			started := r.spawn(func() {
				err := run.do(ctx, func(v T) bool {
					select {
					case found <- v:
						return true
					case <-ctx.Done():
						return false
					}
				})
				ends <- end{run.source, err}
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
		left := len(runs)
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
		if answered || len(runs) == 0 {
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

// failures are why each of the sources failed, on one line.
type failures []error

func (f failures) Error() string {
	all := make([]string, len(f))
	for i, err := range f {
		all[i] = err.Error()
	}
	return strings.Join(all, "; ")
}

func (f failures) Unwrap() []error { return f }
