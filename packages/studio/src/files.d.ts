/** Files that Vite turns into addresses or styles. */
declare module "*.css" {}
declare module "*.jpg" {
  const url: string;
  export default url;
}
declare module "*.png" {
  const url: string;
  export default url;
}
