package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"strings"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
)

// An AddItem is one thing to add: the file or directory at Path, or, if that is
// empty, the bytes of In.
type AddItem struct {
	Path string
	In   io.Reader
}

// An AddRequest is several things to add as one change.
type AddRequest struct {
	Items []AddItem
	// Wrap puts each path into a directory, under the last part of the path.
	Wrap bool
	// Options are those of the library. OnAdd is not called: Entry is. Progress
	// is counted up.
	Options cairn.AddOptions
	// Entry, if not nil, receives each file, symlink and directory of the items,
	// with the item's number. An error ends the adding.
	Entry func(item int, e cairn.AddEntry) error
}

// An AddError is an error of one item.
type AddError struct {
	Item int
	Err  error
}

func (e *AddError) Error() string { return e.Err.Error() }
func (e *AddError) Unwrap() error { return e.Err }

// AddAll adds to a target. When it returns nil, all is durable; else nothing is
// kept. An error about one item is an *AddError. A daemon over a Unix socket
// reads the paths itself, and only files that changed; for any other daemon this
// process makes the blocks, and sends them.
func AddAll(ctx context.Context, t *Target, r AddRequest) ([]cairn.AddResult, error) {
	switch {
	case t.node != nil:
		return addItems(ctx, r, t.node.Adder)
	case t.daemon.unix:
		return t.addAtDaemon(ctx, r)
	case r.Options.NoCopy:
		return nil, httpapi.Forbidden("add: without a copy, the daemon has to see the files: ask it over its Unix socket")
	}
	return addItems(ctx, r, func(o cairn.AddOptions) (*cairn.Adder, error) { return cairn.NewAdder(t.Batch(), o) })
}

// Hash computes the CIDs that AddAll would give, and keeps nothing.
func Hash(ctx context.Context, r AddRequest) ([]cairn.AddResult, error) {
	return addItems(ctx, r, cairn.NewHasher)
}

func addItems(ctx context.Context, r AddRequest, begin func(cairn.AddOptions) (*cairn.Adder, error)) ([]cairn.AddResult, error) {
	current := 0
	var entryErr error
	o := r.Options
	o.OnAdd = func(e cairn.AddEntry) {
		if entryErr == nil && r.Entry != nil {
			entryErr = r.Entry(current, e)
		}
	}
	adder, err := begin(o)
	if err != nil {
		return nil, err
	}
	defer adder.Discard()
	var all []cairn.AddResult
	for i, item := range r.Items {
		current = i
		added, err := addItem(ctx, adder, item, r.Wrap)
		if err = errors.Join(err, entryErr); err != nil {
			return nil, &AddError{i, err}
		}
		all = append(all, added)
	}
	return all, adder.Commit(ctx)
}

func addItem(ctx context.Context, to *cairn.Adder, item AddItem, wrap bool) (cairn.AddResult, error) {
	switch {
	case item.Path == "":
		return to.Add(ctx, item.In)
	case wrap:
		return to.AddWrapped(ctx, item.Path, filepath.Base(item.Path))
	}
	return to.AddPath(ctx, item.Path)
}

// AddArgs are the arguments of Add.
type AddArgs struct {
	// Paths are absolute paths on the daemon's disk; one may be "-", the body.
	Paths   []string         `json:"paths"`
	Wrap    bool             `json:"wrap,omitempty"`
	Options cairn.AddOptions `json:"options,omitzero"`
	// Entries and Progress ask for such events.
	Entries  bool      `json:"entries,omitempty"`
	Progress bool      `json:"progress,omitempty"`
	Body     io.Reader `json:"-"`
}

// An AddEvent is one event of an adding.
type AddEvent struct {
	Item  int             `json:"item"`
	Entry *cairn.AddEntry `json:"entry,omitempty"`
	// Bytes and Files are done so far.
	Bytes int64 `json:"bytes,omitempty"`
	Files int64 `json:"files,omitempty"`
	// Added is the item, once all is durable.
	Added *cairn.AddResult `json:"added,omitempty"`
	// Failed is the error of the item. It is the stream's error, too, but that one
	// comes behind the answer, and so behind the body: a user who types the body
	// sees this one at once.
	Failed *Failure `json:"failed,omitempty"`
}

// maxAddItems bounds the items of one request.
const maxAddItems = 10_000

// Add adds files of the daemon's disk. See AddAll.
var Add = Stream[AddArgs, AddEvent]{
	Path:  "add",
	Scope: httpapi.SameUser,
	Body:  func(a *AddArgs) *io.Reader { return &a.Body },
	Run: func(ctx context.Context, n *cairn.Node, a AddArgs) iter.Seq2[AddEvent, error] {
		return gathered(ctx, func(ctx context.Context, emit func(AddEvent) bool) error {
			r, err := a.request()
			if err != nil {
				return err
			}
			if a.Entries {
				r.Entry = func(item int, e cairn.AddEntry) error {
					emit(AddEvent{Item: item, Entry: &e})
					return ctx.Err()
				}
			}
			stop := func() {}
			if a.Progress {
				var done cairn.AddProgress
				r.Options.Progress = &done
				stop = httpapi.Every(httpapi.ProgressEvery, func() {
					emit(AddEvent{Bytes: done.Bytes.Load(), Files: done.Files.Load()})
				})
			}
			all, err := addItems(ctx, r, n.Adder)
			stop()
			if of, ok := errors.AsType[*AddError](err); ok {
				emit(AddEvent{Item: of.Item, Failed: failureOf(err)})
			}
			if err != nil {
				return err
			}
			for i := range all {
				emit(AddEvent{Item: i, Added: &all[i]})
			}
			return nil
		})
	},
}

func (a AddArgs) request() (AddRequest, error) {
	r := AddRequest{Wrap: a.Wrap, Options: a.Options}
	if len(a.Paths) > maxAddItems {
		return r, httpapi.BadRequest("%d paths in one request: the most is %d", len(a.Paths), maxAddItems)
	}
	bodies := 0
	for _, path := range a.Paths {
		switch {
		case path == "-":
			bodies++
			r.Items = append(r.Items, AddItem{In: a.Body})
		case !filepath.IsAbs(path):
			return r, httpapi.BadRequest("add: %q is no absolute path", path)
		default:
			r.Items = append(r.Items, AddItem{Path: path})
		}
	}
	if bodies > 1 {
		return r, httpapi.BadRequest("add: the body can be read once")
	}
	return r, nil
}

// addAtDaemon does Add, and returns its events as AddAll does.
func (t *Target) addAtDaemon(ctx context.Context, r AddRequest) ([]cairn.AddResult, error) {
	a := AddArgs{Wrap: r.Wrap, Options: r.Options, Entries: r.Entry != nil, Progress: r.Options.Progress != nil}
	for i, item := range r.Items {
		if item.Path == "" {
			a.Paths, a.Body = append(a.Paths, "-"), item.In
			continue
		}
		abs, err := filepath.Abs(item.Path)
		if err != nil {
			return nil, &AddError{i, err}
		}
		a.Paths = append(a.Paths, abs)
	}
	all := make([]cairn.AddResult, len(r.Items))
	seen := 0
	for e, err := range Add.Do(ctx, t, a) {
		if err == nil && (e.Item < 0 || e.Item >= len(all)) {
			err = fmt.Errorf("add: the daemon reports an item %d", e.Item)
		}
		switch {
		case err != nil:
			return nil, err
		case e.Failed != nil:
			return nil, &AddError{e.Item, asNamed(e.Failed, r.Items[e.Item].Path)}
		case e.Entry != nil:
			if r.Entry == nil {
				continue
			}
			if err := r.Entry(e.Item, *e.Entry); err != nil {
				return nil, &AddError{e.Item, err}
			}
		case e.Added != nil:
			all[e.Item] = *e.Added
			seen++
		case r.Options.Progress != nil:
			r.Options.Progress.Bytes.Store(e.Bytes)
			r.Options.Progress.Files.Store(e.Files)
		}
	}
	if seen != len(all) {
		return nil, fmt.Errorf("add: the daemon reported %d of %d", seen, len(all))
	}
	return all, nil
}

// asNamed returns a failure with the path as it was given here.
func asNamed(f *Failure, path string) error {
	if abs, err := filepath.Abs(path); err == nil && path != "" {
		return &Error{strings.ReplaceAll(f.Message, abs, path), f.Codes}
	}
	return f.Err()
}
