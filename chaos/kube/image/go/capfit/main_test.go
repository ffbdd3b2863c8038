package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// sandbox is an allowance without CAP_SYS_RESOURCE, and with low limits.
var sandbox = allowance{
	bounding: ^uint64(0) &^ (1 << sysResource),
	oomScore: 100,
	ceiling:  func(int) (uint64, error) { return 1000, nil },
}

func TestSettingsAreCutToWhatCanBeGiven(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	before := `{"ociVersion":"1.0.2","process":{"oomScoreAdj":-998,
		"capabilities":{"bounding":["CAP_CHOWN","CAP_SYS_RESOURCE","CAP_NEW"]},
		"rlimits":[{"type":"RLIMIT_NOFILE","hard":18446744073709551615,"soft":10}]}}`
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	err := edit(path, func(document map[string]any) { sandbox.cut(document["process"].(map[string]any)) })
	if err != nil {
		t.Fatal(err)
	}
	after, _ := os.ReadFile(path)
	var got, want any
	_ = json.Unmarshal(after, &got)
	_ = json.Unmarshal([]byte(`{"ociVersion":"1.0.2","process":{"oomScoreAdj":100,
		"capabilities":{"bounding":["CAP_CHOWN"]},
		"rlimits":[{"type":"RLIMIT_NOFILE","hard":1000,"soft":10}]}}`), &want)
	if a, b := text(got), text(want); a != b {
		t.Errorf("got %s\nwant %s", a, b)
	}
}

func text(value any) string {
	out, _ := json.Marshal(value)
	return string(out)
}

func TestMissingPartsAreNoError(t *testing.T) {
	for _, process := range []map[string]any{nil, {}, {"capabilities": nil, "rlimits": nil}} {
		sandbox.cut(process)
	}
}

func TestTheSettingsFileIsFoundAsRuncFindsIt(t *testing.T) {
	for _, c := range []struct {
		line         []string
		path, member string
	}{
		{[]string{"--root", "/run", "--log=x", "create", "--bundle", "/b", "id"}, "/b/config.json", "process"},
		{[]string{"create", "--bundle=/b", "id"}, "/b/config.json", "process"},
		{[]string{"run", "-b", "/b", "id"}, "/b/config.json", "process"},
		{[]string{"run", "id"}, "config.json", "process"},
		{[]string{"exec", "--process", "/p.json", "id"}, "/p.json", ""},
		{[]string{"exec", "id", "sh"}, "", ""},
		{[]string{"kill", "id", "9"}, "", ""},
		{nil, "", ""},
	} {
		if path, member := settings(c.line); path != c.path || member != c.member {
			t.Errorf("%v: got %q %q", c.line, path, member)
		}
	}
}
