// Command capfit stands in for runc where root is not all-powerful.
//
// A container's settings may ask for more than its host's root may give: a
// capability outside the bounding set, a lower OOM score than the caller's, a
// resource limit above the caller's own. runc then fails. capfit cuts the settings
// to what can be given and hands over to runc. Where root has CAP_SYS_RESOURCE
// nothing is cut.
//
// runc is the first of /usr/sbin/runc, /usr/bin/runc; CAPFIT_RUNC names another.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	arguments := os.Args[1:]
	if err := fit(arguments); err != nil {
		fmt.Fprintf(os.Stderr, "capfit: %v\n", err)
		os.Exit(1)
	}
	runc := findRunc()
	err := syscall.Exec(runc, append([]string{runc}, arguments...), os.Environ())
	fmt.Fprintf(os.Stderr, "capfit: cannot start %s: %v\n", runc, err)
	os.Exit(126)
}

func findRunc() string {
	if named := os.Getenv("CAPFIT_RUNC"); named != "" {
		return named
	}
	if _, err := os.Stat("/usr/sbin/runc"); err == nil {
		return "/usr/sbin/runc"
	}
	return "/usr/bin/runc"
}

// fit rewrites the settings file that this call of runc will read, if any.
func fit(arguments []string) error {
	allowed, err := ownAllowance()
	if err != nil || allowed.has(sysResource) {
		return err
	}
	path, member := settings(arguments)
	if path == "" {
		return nil
	}
	return edit(path, func(document map[string]any) {
		process := document
		if member != "" {
			process, _ = document[member].(map[string]any)
		}
		allowed.cut(process)
	})
}

// settings finds the file with a process's settings, and the member they are
// under; no path for a call that starts nothing.
func settings(arguments []string) (path, member string) {
	for i, argument := range arguments {
		rest := arguments[i+1:]
		switch argument {
		case "create", "run", "restore":
			return filepath.Join(value(rest, ".", "--bundle", "-b"), "config.json"), "process"
		case "exec":
			return value(rest, "", "--process", "-p"), ""
		case "start", "kill", "delete", "state", "list", "ps", "events", "pause", "resume",
			"update", "checkpoint", "spec", "features":
			return "", ""
		}
	}
	return "", ""
}

func value(arguments []string, otherwise string, names ...string) string {
	for i, argument := range arguments {
		name, inline, joined := strings.Cut(argument, "=")
		switch {
		case !slices.Contains(names, name):
		case joined:
			return inline
		case i+1 < len(arguments):
			return arguments[i+1]
		}
	}
	return otherwise
}

func edit(path string, change func(map[string]any)) error {
	before, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	reader := json.NewDecoder(bytes.NewReader(before))
	reader.UseNumber() // RLIM_INFINITY is more than a float64 can tell exactly
	var document map[string]any
	if err := reader.Decode(&document); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	change(document)
	after, err := json.Marshal(document)
	if err != nil {
		return err
	}
	return os.WriteFile(path, after, 0o600) // an existing file keeps its mode
}

const sysResource = 24

// In the kernel's order: the position is the number (linux/capability.h).
var capabilities = strings.Split("CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID "+
	"SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER "+
	"SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE "+
	"SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN "+
	"SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE", " ")

// In the kernel's order, too (asm-generic/resource.h).
var limits = strings.Split("CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING "+
	"MSGQUEUE NICE RTPRIO RTTIME", " ")

// allowance is what this process may hand on to others.
type allowance struct {
	bounding uint64
	oomScore int64
	ceiling  func(resource int) (uint64, error)
}

func ownAllowance() (allowance, error) {
	own := allowance{ceiling: func(resource int) (uint64, error) {
		var limit syscall.Rlimit
		err := syscall.Getrlimit(resource, &limit)
		return limit.Max, err
	}}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return own, err
	}
	_, after, _ := strings.Cut(string(status), "CapBnd:")
	mask, _, _ := strings.Cut(after, "\n")
	if own.bounding, err = strconv.ParseUint(strings.TrimSpace(mask), 16, 64); err != nil {
		return own, fmt.Errorf("bounding set of /proc/self/status: %w", err)
	}
	score, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return own, err
	}
	own.oomScore, err = strconv.ParseInt(strings.TrimSpace(string(score)), 10, 64)
	return own, err
}

func (a allowance) has(capability int) bool {
	return a.bounding>>capability&1 == 1
}

// cut takes from a process's settings (the runtime specification's `process`)
// what cannot be given.
func (a allowance) cut(process map[string]any) {
	sets, _ := process["capabilities"].(map[string]any)
	for name, set := range sets {
		wanted, _ := set.([]any)
		sets[name] = slices.DeleteFunc(wanted, func(one any) bool {
			text, _ := one.(string)
			number := slices.Index(capabilities, strings.TrimPrefix(text, "CAP_"))
			return number < 0 || !a.has(number)
		})
	}
	if score, is := process["oomScoreAdj"].(json.Number); is {
		if wanted, err := score.Int64(); err == nil {
			process["oomScoreAdj"] = max(wanted, a.oomScore)
		}
	}
	wanted, _ := process["rlimits"].([]any)
	for _, one := range wanted {
		limit, _ := one.(map[string]any)
		name, _ := limit["type"].(string)
		ceiling, err := a.ceiling(slices.Index(limits, strings.TrimPrefix(name, "RLIMIT_")))
		if err != nil {
			continue
		}
		for _, bound := range []string{"soft", "hard"} {
			number, _ := limit[bound].(json.Number)
			if value, err := strconv.ParseUint(number.String(), 10, 64); err == nil {
				limit[bound] = min(value, ceiling)
			}
		}
	}
}
