package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"
)

const containerd = "unix:///run/containerd/containerd.sock"

// object is a piece of the answers, under the names that crictl gives its parts.
type object = map[string]any

type runtime struct {
	cri.RuntimeServiceClient
	cri.ImageServiceClient
}

// The part of crictl that `kind load` and the lab use. All answers are JSON, as
// crictl gives them with `-o json`; lists show containers and pods in every state.
var crictlCommands = map[string]func(context.Context, runtime, []string) (any, error){
	"version":  version,
	"info":     info,
	"images":   images,
	"inspecti": inspectImage,
	"pods":     pods,
	"ps":       containers,
	"inspect":  inspect,
	"stop":     stop,
}

func runCrictl() int {
	var words []string
	for i := 1; i < len(os.Args); i++ {
		switch argument := os.Args[i]; {
		case argument == "-o" || argument == "--output" || argument == "-r" || argument == "--runtime-endpoint":
			i++ // with its value
		case !strings.HasPrefix(argument, "-"):
			words = append(words, argument)
		}
	}
	if len(words) == 0 {
		words = []string{"help"}
	}
	command, known := crictlCommands[words[0]]
	if !known {
		fmt.Fprintln(os.Stderr, "crictl: version | info | images | inspecti IMAGE | pods | ps | inspect ID | stop ID...")
		return 64
	}
	if err := answer(command, words[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "crictl:", err)
		return 1
	}
	return 0
}

func answer(command func(context.Context, runtime, []string) (any, error), arguments []string) error {
	connection, err := grpc.NewClient(containerd, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() {
		if err := connection.Close(); err != nil {
			klog.V(1).Info(err)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client := runtime{cri.NewRuntimeServiceClient(connection), cri.NewImageServiceClient(connection)}
	result, err := command(ctx, client, arguments)
	if err != nil || result == nil {
		return err
	}
	writer := json.NewEncoder(os.Stdout)
	writer.SetIndent("", "  ")
	return writer.Encode(result)
}

func only(arguments []string, what string) (string, error) {
	if len(arguments) != 1 {
		return "", fmt.Errorf("expected one %s", what)
	}
	return arguments[0], nil
}

func version(ctx context.Context, client runtime, _ []string) (any, error) {
	v, err := client.Version(ctx, &cri.VersionRequest{})
	if err != nil {
		return nil, err
	}
	return object{"runtimeName": v.RuntimeName, "runtimeVersion": v.RuntimeVersion, "runtimeApiVersion": v.RuntimeApiVersion}, nil
}

func info(ctx context.Context, client runtime, _ []string) (any, error) {
	status, err := client.Status(ctx, &cri.StatusRequest{Verbose: true})
	if err != nil {
		return nil, err
	}
	conditions := []object{}
	for _, c := range status.Status.Conditions {
		conditions = append(conditions, object{"type": c.Type, "status": c.Status, "reason": c.Reason, "message": c.Message})
	}
	return object{"status": object{"conditions": conditions}}, nil
}

func imageObject(image *cri.Image) object {
	return object{"id": image.Id, "repoTags": image.RepoTags, "repoDigests": image.RepoDigests,
		"size": fmt.Sprint(image.Size), "pinned": image.Pinned}
}

func images(ctx context.Context, client runtime, _ []string) (any, error) {
	found, err := client.ListImages(ctx, &cri.ListImagesRequest{})
	if err != nil {
		return nil, err
	}
	list := []object{}
	for _, image := range found.Images {
		list = append(list, imageObject(image))
	}
	return object{"images": list}, nil
}

func inspectImage(ctx context.Context, client runtime, arguments []string) (any, error) {
	name, err := only(arguments, "image")
	if err != nil {
		return nil, err
	}
	found, err := client.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: name}})
	if err != nil {
		return nil, err
	}
	if found.Image == nil {
		return nil, fmt.Errorf("no such image %q present", name)
	}
	return object{"status": imageObject(found.Image)}, nil
}

func pods(ctx context.Context, client runtime, _ []string) (any, error) {
	found, err := client.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return nil, err
	}
	list := []object{}
	for _, pod := range found.Items {
		list = append(list, object{"id": pod.Id, "state": pod.State.String(), "labels": pod.Labels,
			"createdAt": fmt.Sprint(pod.CreatedAt), "metadata": object{
				"name": pod.Metadata.Name, "namespace": pod.Metadata.Namespace, "uid": pod.Metadata.Uid}})
	}
	return object{"items": list}, nil
}

func containers(ctx context.Context, client runtime, _ []string) (any, error) {
	found, err := client.ListContainers(ctx, &cri.ListContainersRequest{})
	if err != nil {
		return nil, err
	}
	list := []object{}
	for _, one := range found.Containers {
		list = append(list, object{"id": one.Id, "podSandboxId": one.PodSandboxId, "state": one.State.String(),
			"labels": one.Labels, "createdAt": fmt.Sprint(one.CreatedAt),
			"metadata": object{"name": one.Metadata.Name, "attempt": one.Metadata.Attempt}})
	}
	return object{"containers": list}, nil
}

func inspect(ctx context.Context, client runtime, arguments []string) (any, error) {
	id, err := only(arguments, "container")
	if err != nil {
		return nil, err
	}
	found, err := client.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil {
		return nil, err
	}
	s := found.Status
	var details any // holds the pid
	_ = json.Unmarshal([]byte(found.Info["info"]), &details)
	return object{"info": details, "status": object{"id": s.Id, "state": s.State.String(), "labels": s.Labels,
		"exitCode": s.ExitCode, "reason": s.Reason,
		"metadata": object{"name": s.Metadata.Name, "attempt": s.Metadata.Attempt}}}, nil
}

func stop(ctx context.Context, client runtime, arguments []string) (any, error) {
	for _, id := range arguments {
		if _, err := client.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: id}); err != nil {
			return nil, err
		}
	}
	return nil, nil
}
