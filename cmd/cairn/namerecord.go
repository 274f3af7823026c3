package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/atomicfile"
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/spf13/cobra"
)

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
				return conflict("name inspect: say NAME, or --record FILE")
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
			return a.inspected(r)
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
	return a.inspected(r)
}

// readRecord reads a record from a file.
func (a *app) readRecord(ctx context.Context, file string) ([]byte, error) {
	f, err := a.open(ctx, file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, int64(cairn.MaxNameRecord)+1))
	if err == nil && len(raw) > cairn.MaxNameRecord {
		err = fmt.Errorf("%s: %w: a record has %s at most", file, cairn.ErrNameInvalid, formatSize(int64(cairn.MaxNameRecord)))
	}
	return raw, err
}

func (a *app) inspected(r cairn.NameRecord) error {
	expired := r.Valid(time.Now()) != nil
	shape := control.ShowRecord(r)
	if a.json {
		return a.show(struct {
			control.ShownRecord
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
	for _, row := range rows {
		if row[1] == "" {
			continue
		}
		if err := a.show(nil, "%-8s %s", printable(row[0]), printable(row[1])); err != nil {
			return err
		}
	}
	return nil
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
				return hinted(usage(errors.New("name get: a record is not for a terminal")),
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
	err := writeWhole(path, overwrite, atomicfile.Data(raw))
	if errors.Is(err, fs.ErrExist) {
		err = hinted(err, "name another file with -o, or say --overwrite")
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
				return a.published("name put", done, done.NotSent == nil)
			})
		},
	}
}
