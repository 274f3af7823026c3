package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/cairn-ipfs/cairn"
	"github.com/ipfs/go-cid"
)

// An AddItem is one thing to add: what Path names, or, if that is empty, what In
// holds.
type AddItem struct {
	Path string
	In   io.Reader
}

// An AddRequest is several things to add as one change.
type AddRequest struct {
	Items []AddItem
	// Wrap puts what paths name into directories, each under the last part of
	// its path.
	Wrap bool
	// Options say how. Added is not called; Entry is, Progress counted up.
	Options cairn.AddOptions
	// Entry, if not nil, is told of each file, symlink and directory of the
	// items, by the item's number. An error ends the adding.
	Entry func(item int, e cairn.AddEntry) error
}

// An AddError is an error of one item.
type AddError struct {
	Item int
	Err  error
}

func (e *AddError) Error() string { return e.Err.Error() }
func (e *AddError) Unwrap() error { return e.Err }

// AddTo adds to a node in this process. When it returns nil, all is durable; else
// nothing is kept. An error that is about one item is an *AddError.
func AddTo(ctx context.Context, n *cairn.Node, r AddRequest) ([]cairn.AddResult, error) {
	return addAll(ctx, r, n.Adder)
}

// Hash is AddTo without a node: it finds out CIDs, and keeps nothing.
func Hash(ctx context.Context, r AddRequest) ([]cairn.AddResult, error) {
	return addAll(ctx, r, cairn.NewHasher)
}

func addAll(ctx context.Context, r AddRequest, begin func(cairn.AddOptions) (*cairn.Adder, error)) ([]cairn.AddResult, error) {
	current := 0
	var told error
	o := r.Options
	o.OnAdd = func(e cairn.AddEntry) {
		if told == nil && r.Entry != nil {
			told = r.Entry(current, e)
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
		if err = errors.Join(err, told); err != nil {
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

// An addEvent is one line of the answer to addPaths.
type addEvent struct {
	Item  int       `json:"item"`
	Entry *addEntry `json:"entry,omitempty"`
	// Bytes and Files are done so far.
	Bytes int64 `json:"bytes,omitempty"`
	Files int64 `json:"files,omitempty"`
	// Added is the item, once all is durable; Failed is an error about the item,
	// which also stands behind the answer: but who adds from a terminal is to be
	// told before its last line has come.
	Added  *addedShape  `json:"added,omitempty"`
	Failed *errorDetail `json:"failed,omitempty"`
}

type addEntry struct {
	Path string      `json:"path"`
	CID  string      `json:"cid"`
	Type fs.FileMode `json:"type,omitempty"`
	Size int64       `json:"size"`
}

type addedShape struct {
	CID         string `json:"cid"`
	Size        int64  `json:"size"`
	DAGSize     int64  `json:"dagSize"`
	HashedBytes int64  `json:"hashedBytes"`
	Files       int    `json:"files"`
	Dirs        int    `json:"dirs"`
	Symlinks    int    `json:"symlinks"`
}

// maxAddItems bounds the items of one request.
const maxAddItems = 10_000

// addPaths adds what the arguments name on the daemon's disk, absolute paths; "-"
// is the body. Paths are taken over the Unix socket only.
func (c *call) addPaths() error {
	r, err := c.addRequest()
	if err != nil {
		return err
	}
	var progress cairn.AddProgress
	r.Options.Progress = &progress
	if c.flag("entries", false) {
		r.Entry = func(item int, e cairn.AddEntry) error {
			return c.item(addEvent{Item: item, Entry: &addEntry{e.Path, e.CID.String(), e.Type, e.Size}})
		}
	}
	if c.bad != nil {
		return c.bad
	}
	stop := func() {}
	if c.flag("progress", false) {
		stop = Every(ProgressEvery, func() {
			_ = c.line(addEvent{Bytes: progress.Bytes.Load(), Files: progress.Files.Load()})
		})
	}
	all, err := AddTo(c.ctx, c.node, r)
	stop()
	if err != nil {
		var of *AddError
		if errors.As(err, &of) {
			_ = c.line(addEvent{Item: of.Item, Failed: &errorDetail{err.Error(), codesOf(err)}})
		}
		return err
	}
	for i, a := range all {
		shape := &addedShape{a.CID.String(), a.Size, a.DAGSize, a.HashedBytes, a.Files, a.Dirs, a.Symlinks}
		if err := c.item(addEvent{Item: i, Added: shape}); err != nil {
			return err
		}
	}
	return nil
}

// addRequest reads arguments and options.
func (c *call) addRequest() (AddRequest, error) {
	var r AddRequest
	if len(c.args) > maxAddItems {
		return r, badRequest("%d paths in one request: the most is %d", len(c.args), maxAddItems)
	}
	r.Wrap = c.flag("wrap", false)
	bodies := 0
	for _, arg := range c.args {
		switch {
		case arg == "-":
			bodies++
			r.Items = append(r.Items, AddItem{In: c.input})
		case !c.unix:
			return r, forbidden("add %q: the daemon's own files are read over the Unix socket only", arg)
		case !filepath.IsAbs(arg):
			return r, badRequest("add: %q is no absolute path", arg)
		default:
			r.Items = append(r.Items, AddItem{Path: arg})
		}
	}
	if bodies > 1 {
		return r, badRequest("add: the body can be read once")
	}
	r.Options = cairn.AddOptions{
		Profile: c.query.Get("profile"), Chunker: c.query.Get("chunker"), Trickle: c.flag("trickle", false),
		Alias: c.query.Get("alias"), NoPin: c.flag("no-pin", false),
		SkipHidden: c.flag("skip-hidden", false),
		Exclude:    c.query["exclude"], Include: c.query["include"], IgnoreFiles: c.query["ignore-file"],
		KeepMode: c.flag("preserve-mode", false), KeepTimes: c.flag("preserve-mtime", false),
		NoCopy: c.flag("nocopy", false), Rehash: c.flag("rehash", false),
	}
	return r, c.bad
}

// Add makes the daemon add. Over a Unix socket it reads paths itself, and passes
// over what hasn't changed; else the blocks are made here, and sent. When it
// returns nil, all is durable; else nothing is kept.
func (c *Client) Add(ctx context.Context, r AddRequest) ([]cairn.AddResult, error) {
	if !c.unix {
		return c.addBlocks(ctx, r)
	}
	q := request{verb: "cairn/add"}
	for i, item := range r.Items {
		if item.Path == "" {
			q.args = append(q.args, "-")
			q.body, q.content = item.In, "application/octet-stream"
			continue
		}
		abs, err := filepath.Abs(item.Path)
		if err != nil {
			return nil, &AddError{i, err}
		}
		q.args = append(q.args, abs)
	}
	o := r.Options
	for name, value := range map[string]string{"profile": o.Profile, "chunker": o.Chunker, "alias": o.Alias} {
		if value != "" {
			q.option(name, value)
		}
	}
	for name, value := range map[string]bool{
		"wrap": r.Wrap, "trickle": o.Trickle, "no-pin": o.NoPin, "skip-hidden": o.SkipHidden, "preserve-mode": o.KeepMode,
		"preserve-mtime": o.KeepTimes, "nocopy": o.NoCopy, "rehash": o.Rehash,
		"progress": o.Progress != nil, "entries": r.Entry != nil,
	} {
		if value {
			q.option(name, value)
		}
	}
	for name, list := range map[string][]string{"exclude": o.Exclude, "include": o.Include, "ignore-file": o.IgnoreFiles} {
		for _, value := range list {
			q.option(name, value)
		}
	}
	return c.added(ctx, q, r)
}

// added reads the answer to an Add.
func (c *Client) added(ctx context.Context, q request, r AddRequest) ([]cairn.AddResult, error) {
	all := make([]cairn.AddResult, len(r.Items))
	seen, failed := 0, -1
	for e, err := range values[addEvent](ctx, c, q) {
		if err == nil && (e.Item < 0 || e.Item >= len(all)) {
			err = fmt.Errorf("add: the daemon tells of an item %d", e.Item)
		}
		if err == nil && e.Entry != nil && r.Entry != nil {
			var entry cairn.AddEntry
			if entry, err = e.Entry.entry(); err == nil {
				if err = r.Entry(e.Item, entry); err != nil {
					failed = e.Item
				}
			}
		}
		if err == nil && e.Added != nil {
			seen++
			all[e.Item], err = e.Added.added()
		}
		switch {
		case err != nil && failed >= 0:
			return nil, &AddError{failed, err}
		case err != nil:
			return nil, err
		case e.Failed != nil:
			err = &Error{e.Failed.Message, e.Failed.Codes}
			return nil, &AddError{e.Item, asNamed(err, r.Items[e.Item].Path)}
		case r.Options.Progress != nil && e.Entry == nil && e.Added == nil:
			r.Options.Progress.Bytes.Store(e.Bytes)
			r.Options.Progress.Files.Store(e.Files)
		}
	}
	if seen != len(all) {
		return nil, fmt.Errorf("add: the daemon told of %d of %d", seen, len(all))
	}
	return all, nil
}

// asNamed gives the path in the daemon's message the form that it had here.
func asNamed(err error, path string) error {
	var answer *Error
	if abs, aerr := filepath.Abs(path); aerr == nil && path != "" && errors.As(err, &answer) {
		return &Error{strings.ReplaceAll(answer.Message, abs, path), answer.Codes}
	}
	return err
}

func (e *addEntry) entry() (cairn.AddEntry, error) {
	k, err := cid.Decode(e.CID)
	if err != nil {
		err = fmt.Errorf("add: read the daemon's answer: %w", err)
	}
	return cairn.AddEntry{Path: e.Path, CID: k, Type: e.Type, Size: e.Size}, err
}

func (s *addedShape) added() (cairn.AddResult, error) {
	k, err := cid.Decode(s.CID)
	if err != nil {
		err = fmt.Errorf("add: read the daemon's answer: %w", err)
	}
	return cairn.AddResult{
		CID: k, Size: s.Size, DAGSize: s.DAGSize, HashedBytes: s.HashedBytes,
		Files: s.Files, Dirs: s.Dirs, Symlinks: s.Symlinks,
	}, err
}
