package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/atomicfile"
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/spf13/cobra"
)

func (a *app) nameCommand() *cobra.Command {
	g := group("name", "Publish and resolve names whose content may change (IPNS, DNSLink)",
		a.namePublishCommand(), a.nameResolveCommand(), a.nameInspectCommand(), a.nameGetCommand(), a.namePutCommand())
	g.Long = `A name is the id of a key, k51…, which leads to whatever the key's owner signed
last. Names are also resolved wherever a CID is taken: /ipns/NAME/path, or
/ipns/DOMAIN/path for domains with a DNSLink.`
	return g
}

func (a *app) namePublishCommand() *cobra.Command {
	var key string
	var ttl, lifetime durationFlag
	cmd := &cobra.Command{
		Use:   "publish PATH",
		Short: "Make a name lead to a path",
		Long: `Signs a record that makes the key's name lead to PATH: a CID, /ipfs/CID/path,
/ipns/NAME, or an alias by its name. Prints the name, where it leads, and the
record's sequence.

All who may have a record of the name are asked first, so that the sequence is
above all that are in use. Then the record is kept here, and sent. While a daemon
runs, it renews the record before it expires, and sends it again twice a day.
With --offline nobody is asked, and the record is sent when a daemon is online.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: a.completeRef(1),
		RunE: a.onRepo(func(ctx context.Context, s repo, args []string) error {
			return a.namePublish(ctx, s, args[0], control.PublishArgs{
				Key: key, TTL: time.Duration(ttl), Lifetime: time.Duration(lifetime), Offline: a.offline,
			})
		}),
	}
	fl := cmd.Flags()
	fl.StringVar(&key, "key", cairn.SelfKey, "the `key` whose name it is")
	fl.Var(&ttl, "ttl", "how long others may go without asking again (default 5m)")
	fl.Var(&lifetime, "lifetime", "how long the record is valid (default 30d)")
	a.passphraseFlag(cmd)
	// It fails only for a flag that isn't there.
	_ = cmd.RegisterFlagCompletionFunc("key", a.completeKeys(-1))
	return cmd
}

// A shownPublication is a record that was published, in JSON.
type shownPublication struct {
	Name     string    `json:"name"`
	Value    string    `json:"value"`
	Sequence uint64    `json:"sequence"`
	Validity time.Time `json:"validity"`
	TTL      float64   `json:"ttl"` // in seconds
	Sent     bool      `json:"sent"`
}

func (a *app) namePublish(ctx context.Context, s repo, path string, p control.PublishArgs) error {
	var isName bool
	p.Path, isName = namePath(path)
	if !isName {
		r, err := resolveRef(ctx, s, path)
		if err != nil {
			return fmt.Errorf("name publish: %w", err)
		}
		if p.Path = "/ipfs/" + r.root.String(); r.path != "" {
			p.Path += "/" + r.path
		}
	}
	done, err := control.PublishName.Do(ctx, s.Target, p)
	if err != nil {
		return keyFailed("name publish", err)
	}
	return a.showPublication("name publish", done, done.NotSent == nil && !p.Offline)
}

// showPublication prints a record that is kept here. That it was not sent is an
// error, or a remark if the command is offline.
func (a *app) showPublication(what string, p control.Publication, sent bool) error {
	r, err := p.Record, p.NotSent.Err()
	shown := shownPublication{r.Name, r.Value, r.Sequence, r.Validity.UTC(), r.TTL.Seconds(), sent}
	if serr := a.show(shown, "%s %s %d", r.Name, escape(r.Value), r.Sequence); serr != nil {
		return serr
	}
	switch {
	case a.offline && !sent: // a running daemon may have sent it
		a.remark("the record is kept here, and sent when a daemon is online")
	case err != nil:
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (a *app) nameResolveCommand() *cobra.Command {
	var latest, long bool
	cmd := &cobra.Command{
		Use:   "resolve NAME",
		Short: "Print the path that a name leads to",
		Long: `Follows a name, k51…, a domain, a path /ipns/NAME/path, or the name of a key that
is here, to a path that doesn't change, and prints that. The first valid answer
counts, and what is known here and fresh enough answers at once; --latest waits
for all who may know better. With -l each name on the way is printed, with where
it leads, its sequence, and who said so.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: a.completeKeys(1),
		RunE: a.onRepo(func(ctx context.Context, s repo, args []string) error {
			r, err := control.ResolveName.Do(ctx, s.Target, control.NameArgs{Name: nameArgument(args[0]), Latest: latest, Offline: a.offline})
			if err != nil {
				return fmt.Errorf("name resolve: %w", err)
			}
			return a.showResolution(r, long)
		}),
	}
	cmd.Flags().BoolVar(&latest, "latest", false, "wait until all have been asked")
	cmd.Flags().BoolVarP(&long, "long", "l", false, "print each name on the way")
	return cmd
}

func (a *app) showResolution(r cairn.Resolution, long bool) error {
	for _, step := range r.Steps {
		if !long || a.json {
			break
		}
		sequence := "-"
		if step.Record != nil {
			sequence = fmt.Sprint(step.Record.Sequence)
		}
		if err := a.show(nil, "%s %s %s %s", step.Name, escape(step.Value), sequence, escape(step.From)); err != nil {
			return err
		}
	}
	return a.show(r, "%s", escape(r.Path))
}

// nameArgument returns a name for the library: the path of a gateway's URL.
func nameArgument(s string) string {
	if path, isName := namePath(s); isName {
		return path
	}
	return s
}

func (a *app) nameInspectCommand() *cobra.Command {
	var file string
	var latest bool
	cmd := &cobra.Command{
		Use:   "inspect [NAME]",
		Short: "Tell what a name's record says",
		Long: `Tells what the record of a name says: where it leads, the sequence, how long it is
valid and may be cached, and further fields. With --record it is read from a
file, as cairn name get writes it, and needs no repository; without NAME nobody
can say then who signed it.`,
		Args:              arguments(0, 1),
		ValidArgsFunction: a.completeKeys(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && file == "" {
				return usageErrorf("name inspect: say NAME, or --record FILE")
			}
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			if err := a.nameInspect(cmd.Context(), name, file, latest); err != nil {
				return fmt.Errorf("name inspect: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "record", "", "read the record from this `file`; - is stdin")
	cmd.Flags().BoolVar(&latest, "latest", false, "wait until all who may have a record have been asked")
	return cmd
}

func (a *app) nameInspect(ctx context.Context, name, file string, latest bool) error {
	if file == "" {
		return a.withRepo(ctx, func(s repo) error {
			r, err := control.GetNameRecord.Do(ctx, s.Target, control.NameArgs{Name: name, Latest: latest, Offline: a.offline})
			if err != nil {
				return err
			}
			return a.showRecord(r)
		})
	}
	raw, err := a.readRecord(ctx, file)
	if err != nil {
		return err
	}
	inspect := cairn.InspectNameRecord
	if name != "" {
		inspect = func(raw []byte) (cairn.NameRecord, error) { return cairn.ParseNameRecord(name, raw) }
	}
	r, err := inspect(raw)
	if err != nil {
		return err
	}
	return a.showRecord(r)
}

// readRecord reads a record from a file.
func (a *app) readRecord(ctx context.Context, file string) ([]byte, error) {
	raw, err := a.readFile(ctx, file, cairn.MaxNameRecord)
	if err == nil && len(raw) > cairn.MaxNameRecord {
		err = fmt.Errorf("%s: %w: a record has %s at most", file, cairn.ErrNameInvalid, formatSize(int64(cairn.MaxNameRecord)))
	}
	return raw, err
}

func (a *app) showRecord(r cairn.NameRecord) error {
	expired := r.Valid(time.Now()) != nil
	shape := control.ShowRecord(r)
	if a.json {
		return a.show(struct {
			cairn.NameRecord
			Verified bool `json:"verified"`
			Expired  bool `json:"expired"`
		}{shape, r.Name != "", expired}, "")
	}
	signed, valid := "by the name's key", "until "+r.Validity.UTC().Format(time.RFC3339)
	if r.Name == "" {
		signed = "not checked: say NAME, too"
	}
	if expired {
		valid = "expired on " + r.Validity.UTC().Format(time.RFC3339)
	}
	rows := [][2]string{
		{"name", r.Name}, {"value", r.Value}, {"sequence", fmt.Sprint(r.Sequence)}, {"valid", valid},
		{"ttl", formatDuration(r.TTL)}, {"signed", signed}, {"size", fmt.Sprintf("%d bytes", len(r.Raw))},
	}
	for _, field := range slices.Sorted(maps.Keys(shape.Metadata)) {
		text, err := json.Marshal(shape.Metadata[field])
		if err != nil {
			return err
		}
		rows = append(rows, [2]string{field, string(text)})
	}
	return a.showTable(8, rows)
}

func (a *app) nameGetCommand() *cobra.Command {
	var output string
	var latest, overwrite bool
	cmd := &cobra.Command{
		Use:   "get NAME",
		Short: "Write a name's record, as its owner signed it",
		Long: `Writes the record to stdout, or to the file that -o names. Whoever has it can put it
wherever the name is looked for (cairn name put), and nobody can change it.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: a.completeKeys(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output == "" && a.outTerminal && !a.json {
				return withHint(asUsageError(errors.New("name get: a record is not for a terminal")),
					"write it to a file with -o, or see what it says with cairn name inspect")
			}
			return a.withRepo(cmd.Context(), func(s repo) error {
				r, err := control.GetNameRecord.Do(cmd.Context(), s.Target, control.NameArgs{Name: args[0], Latest: latest, Offline: a.offline})
				switch {
				case err != nil:
				case output != "":
					err = writeRecord(output, overwrite, r.Raw)
				case a.json:
					err = a.show(r, "")
				default:
					_, err = a.out.Write(r.Raw)
				}
				if err != nil {
					return fmt.Errorf("name get: %w", err)
				}
				return nil
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&output, "output", "o", "", "write to this `file`")
	fl.BoolVar(&overwrite, "overwrite", false, "put it in the place of a file that is there")
	fl.BoolVar(&latest, "latest", false, "wait until all who may have a record have been asked")
	return cmd
}

func writeRecord(path string, overwrite bool, raw []byte) error {
	err := writeFile(path, overwrite, 0o644, atomicfile.Data(raw))
	if errors.Is(err, fs.ErrExist) {
		err = withHint(err, "name another file with -o, or say --overwrite")
	}
	return err
}

func (a *app) namePutCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "put NAME FILE|-",
		Short: "Take in a name's record, and send it on",
		Long: `Reads a record that the owner of NAME signed, as cairn name get writes it, and sends
it on as it is, so that the name is found while its owner is away. One that is
forged, expired, or older than what was seen before is refused.`,
		Args: arguments(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := a.readRecord(cmd.Context(), args[1])
			if err != nil {
				return fmt.Errorf("name put: %w", err)
			}
			return a.withRepo(cmd.Context(), func(s repo) error {
				done, err := control.PutNameRecord.Do(cmd.Context(), s.Target, control.PutRecordArgs{Name: args[0], Record: raw})
				if err != nil {
					return fmt.Errorf("name put: %w", err)
				}
				return a.showPublication("name put", done, done.NotSent == nil)
			})
		},
	}
}
