// The order of work on the GPU: streams, events, captured graphs.
#include "cuda/device.h"
#include "cuda/errors.h"

namespace ingot::cuda {
namespace {

cudaEvent_t event_of(void *event) { return static_cast<cudaEvent_t>(event); }

}  // namespace

int synchronize(void *self, void *stream) {
  Device &device = entered(self);
  return report(device, cudaStreamSynchronize(stream_of(device, stream)), "waiting for the GPU");
}

int create_event(void *self, void **event) {
  Device &device = entered(self);
  cudaEvent_t made = nullptr;
  const cudaError_t error = cudaEventCreate(&made);
  *event = made;
  return report(device, error, "making an event");
}

void destroy_event(void *self, void *event) {
  if (!event) return;
  entered(self);
  if (cudaEventDestroy(event_of(event)) != cudaSuccess) cudaGetLastError();
}

int record(void *self, void *event, void *stream) {
  Device &device = entered(self);
  return report(device, cudaEventRecord(event_of(event), stream_of(device, stream)), "recording an event");
}

int wait_for(void *self, void *event) {
  Device &device = entered(self);
  return report(device, cudaEventSynchronize(event_of(event)), "waiting for an event of the GPU");
}

int let_wait(void *self, void *event, void *stream) {
  Device &device = entered(self);
  return report(device, cudaStreamWaitEvent(stream_of(device, stream), event_of(event), 0),
                "letting a stream wait for an event");
}

int elapsed(void *self, void *begin, void *end, double *seconds) {
  Device &device = entered(self);
  float milliseconds = 0;
  const cudaError_t error = cudaEventElapsedTime(&milliseconds, event_of(begin), event_of(end));
  *seconds = static_cast<double>(milliseconds) * 1e-3;
  return report(device, error, "taking the time between two events");
}

int health(void *self) {
  Device &device = entered(self);
  const cudaError_t error = cudaStreamQuery(device.stream);
  if (error != cudaErrorNotReady) return report(device, error, "running a step");
  cudaGetLastError();  // it works; this is not the error of a launch that follows
  return 0;
}

int capture_begin(void *self) {
  Device &device = entered(self);
  return report(device, cudaStreamBeginCapture(device.stream, cudaStreamCaptureModeThreadLocal), "capturing a step");
}

int capture_end(void *self, void **graph) {
  Device &device = entered(self);
  *graph = nullptr;
  cudaGraph_t captured = nullptr;
  if (int failed = report(device, cudaStreamEndCapture(device.stream, &captured), "capturing a step")) return failed;
  cudaGraphExec_t made = nullptr;
  cudaError_t error = cudaGraphInstantiate(&made, captured, 0);
  cudaGraphDestroy(captured);
  if (int failed = report(device, error, "making a graph of a step")) return failed;
  error = cudaGraphUpload(made, device.stream);  // now, not with its first launch
  if (error != cudaSuccess) cudaGraphExecDestroy(made);
  if (int failed = report(device, error, "bringing a graph to the GPU")) return failed;
  *graph = made;
  return 0;
}

int launch(void *self, void *graph) {
  Device &device = entered(self);
  return report(device, cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), device.stream), "launching a step");
}

void destroy_graph(void *self, void *graph) {
  if (!graph) return;
  entered(self);
  if (cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)) != cudaSuccess) cudaGetLastError();
}

}  // namespace ingot::cuda
